//! The service as a buyer meets it: over HTTP, with every failure a problem.

use crate::cases;
use crate::rig::{Rig, settings_with};
use crate::running::Running;
use order_service::startup::Service;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

cases!(
    a_product_a_coupon_and_an_order,
    every_failure_is_a_problem_with_a_stable_type,
    the_field_that_is_wrong_is_named_by_its_path,
    the_description_names_every_path_and_the_docs_are_served,
    a_database_that_is_away_is_503_and_told_by_readiness,
    a_taken_port_names_the_setting,
    a_body_beyond_the_limit_is_refused,
    a_head_or_a_body_that_does_not_arrive_is_given_up,
    a_trace_context_travels_with_the_event,
);

async fn a_product_a_coupon_and_an_order(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    let product = service.created("/products", &json!({"name": "lamp", "price": 1500, "stock": 5})).await;
    assert_eq!(product, json!({"productId": 1, "name": "lamp", "price": 1500, "stock": 5}));
    let coupon = service
        .created(
            "/coupons",
            &json!({"userId": 7, "discountAmount": 500, "expiresAt": "2999-01-01T00:00:00Z"}),
        )
        .await;
    assert_eq!((&coupon["couponId"], &coupon["status"]), (&json!(1), &json!("USABLE")));

    let order = json!({"userId": 7, "items": [{"productId": 1, "quantity": 2}], "couponId": 1});
    let response = service.post("/orders", &order).await;
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert!(response.headers().contains_key("x-request-id"));
    let order: Value = response.json().await.unwrap();
    assert_eq!(location, format!("/orders/{}", order["orderId"]));
    for (field, expected) in [
        ("userId", json!(7)),
        ("status", json!("COMPLETED")),
        ("lines", json!([{"productId": 1, "quantity": 2, "unitPrice": 1500, "lineAmount": 3000}])),
        ("totalAmount", json!(3000)),
        ("discountAmount", json!(500)),
        ("paidAmount", json!(2500)),
        ("couponId", json!(1)),
    ] {
        assert_eq!(order[field], expected, "{field}");
    }
    let completed_at = order["completedAt"].as_str().unwrap();
    assert!(completed_at.ends_with('Z') && completed_at.len() == "2025-05-29T01:43:46.137371Z".len());
    assert_eq!(service.read(&location).await.json::<Value>().await.unwrap(), order);
    let product: Value =
        service.post("/products/1/restock", &json!({"quantity": 10})).await.json().await.unwrap();
    assert_eq!(product["stock"], 13);
    let coupons: Value = service.read("/users/7/coupons").await.json().await.unwrap();
    assert_eq!((&coupons["items"][0]["status"], coupons.get("next")), (&json!("USED"), None));
    service.stop().await;
}

type Failure = (Method, &'static str, Option<&'static str>, String, u16, &'static str);

/// What is sent, the status and the problem; one of them succeeds, so that the coupon is used for the next.
fn failures() -> Vec<Failure> {
    let order = |product: i64, quantity: i64, coupon: Option<i64>| {
        let items = json!([{"productId": product, "quantity": quantity}]);
        json!({"userId": 1, "items": items, "couponId": coupon}).to_string()
    };
    let json_type = Some("application/json");
    let array_of_fields = r#"[1,[{"productId":1,"quantity":1}],null]"#.to_owned();
    let array_as_item = r#"{"userId":1,"items":[[1,1]]}"#.to_owned();
    vec![
        (Method::POST, "/orders", json_type, "{garbage".to_owned(), 400, "malformed-json"),
        (Method::POST, "/orders", json_type, String::new(), 400, "malformed-json"),
        (Method::POST, "/orders", json_type, order(1, 1, None) + "x", 400, "malformed-json"),
        (Method::POST, "/orders", json_type, "[]".to_owned(), 422, "validation-failed"),
        (Method::POST, "/orders", json_type, array_of_fields, 422, "validation-failed"),
        (Method::POST, "/orders", json_type, array_as_item, 422, "validation-failed"),
        (Method::POST, "/orders", Some("text/plain"), order(1, 1, None), 415, "unsupported-media-type"),
        (Method::POST, "/orders", None, order(1, 1, None), 415, "unsupported-media-type"),
        (Method::POST, "/orders", json_type, order(9, 1, None), 422, "unknown-product"),
        (Method::POST, "/orders", json_type, order(1, 2, None), 409, "out-of-stock"),
        (Method::POST, "/orders", json_type, order(2, 2, None), 422, "amount-too-large"),
        (Method::POST, "/orders", json_type, order(1, 1, Some(9)), 422, "unknown-coupon"),
        (Method::POST, "/orders", json_type, order(1, 1, Some(2)), 403, "coupon-not-yours"),
        (Method::POST, "/orders", json_type, order(1, 1, Some(3)), 409, "coupon-expired"),
        (Method::POST, "/orders", json_type, order(1, 1, Some(1)), 201, ""),
        (Method::POST, "/orders", json_type, order(2, 1, Some(1)), 409, "coupon-used"),
        (Method::PUT, "/orders", json_type, order(1, 1, None), 405, "method-not-allowed"),
        (Method::DELETE, "/products/1", None, String::new(), 405, "method-not-allowed"),
        (Method::GET, "/orders/99", None, String::new(), 404, "order-not-found"),
        (Method::GET, "/orders/x", None, String::new(), 404, "not-found"),
        (Method::GET, "/products/99", None, String::new(), 404, "product-not-found"),
        (Method::GET, "/products?limit=x", None, String::new(), 422, "validation-failed"),
        (Method::GET, "/products?limit=0", None, String::new(), 422, "validation-failed"),
        (Method::GET, "/products?after=-1", None, String::new(), 422, "validation-failed"),
        (Method::GET, "/docs/no-such-file", None, String::new(), 404, "not-found"),
        (Method::HEAD, "/products/1", None, String::new(), 200, ""),
        (
            Method::POST,
            "/products/2/restock",
            json_type,
            format!("{{\"quantity\":{}}}", i64::MAX),
            422,
            "amount-too-large",
        ),
        (Method::GET, "/products?page=2", None, String::new(), 422, "validation-failed"),
        (
            Method::POST,
            "/products/99/restock",
            json_type,
            "{\"quantity\":1}".to_owned(),
            404,
            "product-not-found",
        ),
        (Method::GET, "/no/such/path", None, String::new(), 404, "not-found"),
    ]
}

async fn every_failure_is_a_problem_with_a_stable_type(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    service.created("/products", &json!({"name": "lamp", "price": 10, "stock": 1})).await;
    service.created("/products", &json!({"name": "palace", "price": i64::MAX, "stock": 5})).await;
    for user in [1, 2] {
        service.created("/coupons", &json!({"userId": user, "discountAmount": 5})).await;
    }
    let past = json!({"userId": 1, "discountAmount": 5, "expiresAt": "2020-01-01T00:00:00Z"});
    service.created("/coupons", &past).await;
    for (method, path, content_type, body, status, problem) in failures() {
        let url = format!("http://{}{path}", service.address);
        let mut request = service.client.request(method.clone(), url).body(body.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let response = request.send().await.unwrap();
        let told = format!("{method} {path} {body}");
        assert_eq!(response.status(), status, "{told}");
        assert!(response.headers().contains_key("x-request-id"), "{told}");
        if problem.is_empty() {
            continue;
        }
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{told}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["type"], format!("/problems/{problem}"), "{told}");
        assert_eq!(answer["status"], status, "{told}");
        assert!(!answer["detail"].as_str().unwrap().is_empty(), "{told}");
    }
    service.stop().await;
}

/// Path, body and the fields that are wrong.
type Impossible = (&'static str, Value, Vec<&'static str>);

fn impossible_coupons() -> Vec<Impossible> {
    vec![
        ("/coupons", json!({"userId": 1, "discountAmount": 0}), vec!["discountAmount"]),
        ("/coupons", json!({"userId": 1}), vec!["discountAmount"]),
        (
            "/coupons",
            json!({"userId": 1, "discountAmount": 5, "discountPercent": 5}),
            vec!["discountPercent"],
        ),
        ("/coupons", json!({"userId": 1, "discountPercent": 0}), vec!["discountPercent"]),
        ("/coupons", json!({"userId": 1, "discountPercent": 101}), vec!["discountPercent"]),
        ("/coupons", json!({"userId": 1, "discountPercent": 2.5}), vec!["discountPercent"]),
        (
            "/coupons",
            json!({"userId": 1, "discountPercent": 10, "maxDiscountAmount": 0}),
            vec!["maxDiscountAmount"],
        ),
        (
            "/coupons",
            json!({"userId": 1, "discountAmount": 5, "maxDiscountAmount": 5}),
            vec!["maxDiscountAmount"],
        ),
        (
            "/coupons",
            json!({"userId": 1, "discountAmount": 1, "expiresAt": "+10000-01-01T00:00:00Z"}),
            vec!["expiresAt"],
        ),
        ("/coupons", json!({"userId": 1, "discountAmount": 1, "expiresAt": "soon"}), vec!["expiresAt"]),
    ]
}

async fn the_field_that_is_wrong_is_named_by_its_path(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    let good = json!({"productId": 1, "quantity": 1});
    for (path, body, fields) in [
        ("/orders", json!({"userId": 1}), vec!["items"]),
        ("/orders", json!({"userId": 1, "items": [{"productId": 1}]}), vec!["items[0].quantity"]),
        ("/orders", json!({"userId": 0, "items": [], "couponId": 0}), vec!["couponId", "items", "userId"]),
        (
            "/orders",
            json!({"userId": 1, "items": [good, {"productId": 0, "quantity": 0}]}),
            vec!["items[1].productId", "items[1].quantity"],
        ),
        ("/orders", json!({"userId": 1, "items": [good, {"productId": "x"}]}), vec!["items[1].productId"]),
        (
            "/orders",
            json!({"userId": 1, "items": [{"productId": 1, "quantity": 1.5}]}),
            vec!["items[0].quantity"],
        ),
        (
            "/orders",
            json!({"userId": 1, "items": [{"productId": 1, "quantity": -1}]}),
            vec!["items[0].quantity"],
        ),
        (
            "/orders",
            json!({"userId": 1, "items": [{"productId": 1, "quantity": 1001}]}),
            vec!["items[0].quantity"],
        ),
        ("/orders", json!({"userId": 1, "items": vec![good.clone(); 51]}), vec!["items"]),
        ("/orders", json!({"userId": 1, "items": [good], "couponID": 1}), vec!["couponID"]),
        ("/products", json!({"name": "", "price": 1, "stock": -1}), vec!["name", "stock"]),
        ("/products", json!({"name": "a\u{0}b", "price": 1, "stock": 1}), vec!["name"]),
        ("/products", json!({"name": "  ", "price": 1, "stock": 1}), vec!["name"]),
        ("/products", json!({"name": "x", "price": -1, "stock": 1}), vec!["price"]),
    ]
    .into_iter()
    .chain(impossible_coupons())
    {
        let response = service.post(path, &body).await;
        assert_eq!(response.status(), 422, "{body}");
        let answer: Value = response.json().await.unwrap();
        let errors = answer["errors"].as_array().unwrap();
        let mut named: Vec<&str> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, fields, "{body}: {answer}");
    }
    service.stop().await;
}

async fn the_description_names_every_path_and_the_docs_are_served(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    let description: Value = service.read("/openapi.json").await.json().await.unwrap();
    let paths: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/coupons",
        "/orders",
        "/orders/{orderId}",
        "/products",
        "/products/{productId}",
        "/products/{productId}/restock",
        "/users/{userId}/coupons",
    ];
    assert_eq!(paths, expected);
    let pages = description["paths"]["/products"]["get"]["parameters"].as_array().unwrap();
    assert!(pages.len() == 2 && pages.iter().all(|parameter| parameter["in"] == "query"), "{pages:?}");
    let docs = service.read("/docs").await;
    assert_eq!(docs.status(), 200);
    assert!(docs.text().await.unwrap().contains("swagger-ui"));
    service.stop().await;
}

async fn a_database_that_is_away_is_503_and_told_by_readiness(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    service.created("/products", &json!({"name": "lamp", "price": 10, "stock": 5})).await;
    let ready = format!("http://{}/health/ready", service.management);
    assert_eq!(service.client.get(&ready).send().await.unwrap().status(), 200);

    let name = shop.own.name();
    let server = shop.own.url().replace(name, "postgres");
    let (operator, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let set = |allowed: bool| format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS {allowed}");
    operator.batch_execute(&set(false)).await.unwrap();
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    operator.batch_execute(&cut).await.unwrap();

    let order = json!({"userId": 1, "items": [{"productId": 1, "quantity": 1}]});
    let response = service.post("/orders", &order).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/unavailable");
    assert!(!problem.to_string().contains("postgres"), "a cause has no place in an answer: {problem}");
    while service.client.get(&ready).send().await.unwrap().status() != 503 {
        tokio::task::yield_now().await;
    }
    operator.batch_execute(&set(true)).await.unwrap();
    while service.client.get(&ready).send().await.unwrap().status() != 200 {
        tokio::task::yield_now().await;
    }
    service.created("/orders", &order).await;
    service.stop().await;
}

async fn a_taken_port_names_the_setting(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let settings = settings_with(&[("DATABASE__URL", &shop.own.url()), ("HTTP__PORT", &port)]);
    let Err(error) = Service::build(settings).await else { panic!("the port is taken") };
    let sentence = service_chassis::exit::sentence(&error);
    assert!(sentence.contains("is taken") && sentence.contains("http.port"), "{sentence}");
}

async fn a_body_beyond_the_limit_is_refused(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    let response =
        service.post("/products", &json!({"name": "x".repeat(70_000), "price": 1, "stock": 1})).await;
    assert_eq!(response.status(), 413);
    assert_eq!(response.json::<Value>().await.unwrap()["type"], "/problems/body-too-large");
    service.stop().await;
}

async fn a_head_or_a_body_that_does_not_arrive_is_given_up(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let head =
        "POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 100\r\n";
    let with_body = format!("{head}\r\n{{");
    for (patience, sent, last) in [
        ([("HTTP__BODY_TIMEOUT", "100ms"), ("HTTP__HEAD_TIMEOUT", "1h")], with_body.as_str(), "}"),
        ([("HTTP__BODY_TIMEOUT", "1h"), ("HTTP__HEAD_TIMEOUT", "100ms")], head, "\r\n\r\n"),
    ] {
        let service = Running::start_with(&shop, &patience).await;
        let mut slow = TcpStream::connect(service.address).await.unwrap();
        slow.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(last.as_bytes()) {
            assert_ne!(slow.read_buf(&mut answer).await.unwrap(), 0, "closed without an answer");
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert_eq!(answer.contains("/problems/body-too-slow"), sent == with_body, "{answer}");
        service.stop().await;
    }
}

async fn a_trace_context_travels_with_the_event(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let service = Running::start(&shop).await;
    service.created("/products", &json!({"name": "lamp", "price": 10, "stock": 5})).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let too_long = "x".repeat(600);
    // traceparent, tracestate, and how many events have each of them then
    for (parent, state, parents, states) in
        [(trace, "a=b", 1, 1), ("nonsense", "a=b", 1, 1), (trace, too_long.as_str(), 2, 1)]
    {
        let order = json!({"userId": 1, "items": [{"productId": 1, "quantity": 1}]});
        let request = service.client.post(format!("http://{}/orders", service.address)).json(&order);
        let request = request.header("traceparent", parent).header("tracestate", state);
        assert_eq!(request.send().await.unwrap().status(), 201);
        for (header, expected) in [("traceparent", parents), ("tracestate", states)] {
            let traced = format!("SELECT count(*) FROM outbox WHERE headers ? '{header}'");
            assert_eq!(shop.number(&traced).await, expected, "{header} after {parent} {state}");
        }
    }
    service.stop().await;
}
