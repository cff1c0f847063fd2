//! What the three HTTP servers do alike: heads by httparse, one answer for all, pipelining.

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nhello, world\n";

/// Takes all whole requests off `input` and appends an answer for each to `output`; false if
/// that is no HTTP.
pub fn answer(input: &mut Vec<u8>, output: &mut Vec<u8>) -> bool {
    let mut used = 0;
    while used < input.len() {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        match httparse::Request::new(&mut headers).parse(&input[used..]) {
            Ok(httparse::Status::Complete(n)) => used += n,
            Ok(httparse::Status::Partial) => break,
            Err(_) => return false,
        }
        output.extend_from_slice(ANSWER);
    }
    input.drain(..used);
    true
}
