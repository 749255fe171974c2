use super::*;

#[test]
fn a_response_with_a_length_is_split_from_the_next() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ndenrei-POSITION:  e:7 \r\n\r\nokHTTP/1.1 ";
    let (response, used) = Response::split(bytes).expect("whole");
    assert_eq!((&*response.body, &bytes[used..]), (&b"ok"[..], &b"HTTP/1.1 "[..]));
    assert_eq!(header(&response.head, "Denrei-Position"), Some("e:7"));
    assert!(Response::split(&bytes[..used - 1]).is_none());
}

#[test]
fn a_chunked_response_waits_for_its_last_chunk() {
    let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for cut in 0..bytes.len() {
        assert!(Response::split(&bytes[..cut]).is_none(), "cut at {cut}");
    }
    let (response, used) = Response::split(bytes).expect("whole");
    assert_eq!((&*response.body, used), (&b"abcde"[..], bytes.len()));
}

#[test]
fn an_answer_without_content_has_no_body() {
    let (response, used) = Response::split(b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n").expect("whole");
    assert_eq!((status(&response.head), response.body.len(), used), (204, 0, 46));
}
