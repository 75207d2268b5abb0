use reqwest::header::HeaderValue;

use super::*;
use crate::sink::FailureKind;

/// As if the platform had asked for no wait.
fn meaning(status: u16) -> Result<(), Classified> {
    classify(StatusCode::from_u16(status).unwrap(), None)
}

fn kind(status: u16) -> Option<FailureKind> {
    let status = StatusCode::from_u16(status).unwrap();
    classify(status, None).err().map(|classified| classified.told_with(status, b"").failure.kind())
}

#[test]
fn every_answer_means_what_the_table_says() {
    for status in [200, 201, 202, 204, 208, 299] {
        assert_eq!(kind(status), None, "{status}");
    }
    for status in [408, 409, 423, 425, 500, 501, 502, 503, 504, 507, 599] {
        assert_eq!(kind(status), Some(FailureKind::Unavailable), "{status}");
    }
    for status in [400, 413, 422, 431, 451] {
        assert_eq!(kind(status), Some(FailureKind::Rejected), "{status}");
    }
    for status in [100, 207, 301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 415, 418, 499, 600, 999] {
        assert_eq!(kind(status), Some(FailureKind::Misconfigured), "{status}");
    }
    assert_eq!(kind(429), Some(FailureKind::Throttled { retry_after: None }));
}

#[test]
fn a_503_that_asks_for_a_wait_throttles_and_one_that_does_not_is_away() {
    let wait = Some(Duration::from_secs(7));
    assert_eq!(classify(StatusCode::SERVICE_UNAVAILABLE, wait), Err(Classified::Throttled(wait)));
    assert_eq!(meaning(503), Err(Classified::Unavailable { of_content: false }));
}

#[test]
fn what_a_gateway_says_by_itself_is_no_events_fault() {
    for status in [502, 503, 504] {
        assert_eq!(meaning(status), Err(Classified::Unavailable { of_content: false }), "{status}");
    }
    for status in [500, 507] {
        assert_eq!(meaning(status), Err(Classified::Unavailable { of_content: true }), "{status}");
    }
}

#[test]
fn a_wait_is_read_in_seconds_and_as_a_time_and_is_never_longer_than_an_hour() {
    let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    for (text, wait) in [
        ("0", Some(0)),
        (" 120 ", Some(120)),
        ("86400", Some(3600)),
        ("99999999999999999999999", Some(3600)),
        ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
        ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
        ("Sun Nov  6 08:49:38 1994", Some(1)),
        ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
        ("Sat, 06 Nov 2094 08:49:37 GMT", Some(3600)),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
    ] {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
        assert_eq!(retry_after(&headers, now), wait.map(Duration::from_secs), "{text}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

#[test]
fn the_cause_has_the_start_of_the_body_in_one_line_and_nothing_that_steers_a_terminal() {
    let body = "order \u{1b}[31m15\n is\tbad\u{0} ".to_owned() + &"x".repeat(1000);
    let told = Classified::Rejected.told_with(StatusCode::BAD_REQUEST, body.as_bytes());
    let text = told.failure.to_string();
    assert!(text.starts_with("the platform answered 400 Bad Request: order [31m15 is bad xxx"), "{text}");
    assert!(text.chars().count() <= LONGEST_QUOTE + 50 && !text.contains(char::is_control), "{text}");
    let empty = Classified::Rejected.told_with(StatusCode::BAD_REQUEST, b" \n").failure.to_string();
    assert_eq!(empty, "the platform answered 400 Bad Request");
    let cut = Classified::Rejected.told_with(StatusCode::BAD_REQUEST, &[b'a', 0xe2, 0x82]);
    assert!(cut.failure.to_string().ends_with("a\u{fffd}"), "bytes that are no text do no harm");
}
