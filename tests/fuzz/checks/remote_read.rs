//! Remote read bodies: what is accepted is encoded and decoded again.
//!
//! The first byte says whether the body follows, or the message that is compressed to a body here.

use narthex::remote_read::Request;
use prost::Message as _;

pub(super) fn check(bytes: &[u8]) -> bool {
    let request = match bytes.split_first() {
        None => return false,
        Some((0, body)) => Request::decompress(body),
        Some((_, message)) => Request::decompress(&compress(message)),
    };
    let Ok(request) = request else {
        return false;
    };
    let again = Request::decompress(&compress(&request.encode_to_vec()));
    assert_eq!(again.as_ref(), Ok(&request), "what is encoded is accepted");
    true
}

fn compress(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(message)
        .expect("messages are short")
}
