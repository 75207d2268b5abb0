//! # Idempotency-Key
//!
//! The buyer's name for a request, so that a repeat buys once (the IETF's draft of that header). Without it the
//! service makes a key of its own: then a repeat is another order.

use super::problem::{Problem, ProblemType};
use actix_web::HttpRequest;

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;

/// The request's key, if it has one.
///
/// # Errors
/// A problem when it is empty or blank, longer than 255 characters, not visible ASCII, or sent twice.
pub fn from_request(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = |why: &str| Problem::new(ProblemType::IdempotencyKeyMalformed, why);
    if values.next().is_some() {
        return Err(malformed("send the header Idempotency-Key once"));
    }
    let text = value.to_str().map(str::trim).unwrap_or_default();
    // The draft's form is a quoted string; most clients send it bare. Both name the same key.
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_visible = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if key.trim().is_empty() || key.len() > LONGEST || !is_visible {
        return Err(malformed("a key has 1 to 255 visible ASCII characters, a UUID for example"));
    }
    Ok(Some(key.to_owned()))
}
