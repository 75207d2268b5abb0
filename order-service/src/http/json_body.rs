//! # JSON body
//!
//! A request's body, read within the limit, parsed and validated. What is wrong is named by the field's path
//! as the client wrote it, `items[0].quantity`. A field that is not known is refused: a mistyped `couponId`
//! must not make an order more expensive. An object is an object: an array of its fields' values, which serde would take
//! for one, names none of them, and is refused.

use super::problem::{Problem, ProblemType};
use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use garde::Validate;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::time::timeout;

/// What a body may take at most; the application's data.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    /// Bytes.
    pub bytes: usize,
    /// Time until the last of them is here.
    pub time: Duration,
}

/// A validated body.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<T> FromRequest for JsonBody<T>
where
    T: DeserializeOwned + Validate + 'static,
    T::Context: Clone + 'static,
{
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            check_content_type(&request)?;
            let context = request.app_data::<T::Context>().cloned().ok_or_else(Problem::internal)?;
            let limit: BodyLimit = request.app_data().copied().ok_or_else(Problem::internal)?;
            let body = timeout(limit.time, read(payload, limit.bytes)).await.map_err(|_| {
                let detail = format!("the body was not here after {:?}", limit.time);
                Problem::new(ProblemType::BodyTooSlow, detail)
            })??;
            let value: T = parse(&body)?;
            validate(&value, &context)?;
            Ok(Self(value))
        })
    }
}

fn check_content_type(request: &HttpRequest) -> Result<(), Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let found = content_type.map_or("no content-type".to_owned(), |found| format!("content-type {found}"));
    Err(Problem::new(ProblemType::UnsupportedMediaType, format!("{found} was sent; send application/json")))
}

async fn read(mut payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(ProblemType::MalformedJson, format!("the body could not be read: {error}"))
        })?;
        if body.len() + chunk.len() > limit {
            let detail = format!("a body may have at most {limit} bytes");
            return Err(Problem::new(ProblemType::BodyTooLarge, detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// A value that is written as an object, and in no other way.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}

/// For a field that is a list of objects.
pub(super) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        match cause.classify() {
            Category::Data => Problem::invalid_fields(vec![(field_path(path, &cause), cause.to_string())]),
            Category::Syntax | Category::Eof | Category::Io => malformed(&cause),
        }
    })?;
    json.end().map_err(|cause| malformed(&cause))?;
    Ok(value)
}

/// A field that is missing, or there twice, is an error of the object around it; serde's words have its name.
fn field_path(object: String, cause: &serde_json::Error) -> String {
    let words = cause.to_string();
    let named = ["missing field `", "duplicate field `"].iter().find_map(|start| words.strip_prefix(start));
    match named.and_then(|rest| rest.split('`').next()) {
        Some(field) if object == "." => field.to_owned(),
        Some(field) => format!("{object}.{field}"),
        None => object,
    }
}

fn malformed(cause: &serde_json::Error) -> Problem {
    Problem::new(ProblemType::MalformedJson, format!("the body is not JSON: {cause}"))
}

fn validate<T: Validate>(value: &T, context: &T::Context) -> Result<(), Problem> {
    value.validate_with(context).map_err(|report| {
        let fields = report.iter().map(|(path, error)| (camel_case(&path.to_string()), error.to_string()));
        Problem::invalid_fields(fields.collect())
    })
}

/// A field's path as the client wrote it: the rules name fields as Rust does.
fn camel_case(path: &str) -> String {
    let mut words = path.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut path, word| {
        let mut letters = word.chars();
        path.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        path + letters.as_str()
    })
}
