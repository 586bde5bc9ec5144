//! HTTP/1.1 as a server speaks it, on any stream.

use std::io::{self, Read, Write};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// As it came.
    pub(crate) bytes: Vec<u8>,
}

impl Request {
    /// The value of a header, whose name may be written in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// One client.
pub(crate) struct Connection<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        let received = Vec::with_capacity(16 * 1024);
        Self { stream, received }
    }

    /// The next request; `None` when the client has gone.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.receive()? {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut word = || first.next().unwrap_or_default().to_owned();
        let mut request = Request {
            method: word(),
            path: word(),
            headers: lines.filter_map(header).collect(),
            body: Vec::new(),
            bytes: Vec::new(),
        };
        if request.header("expect").is_some() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let is_chunked = request
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let end = if is_chunked {
            let (body, end) = self.chunks(end)?;
            request.body = body;
            end
        } else {
            let length = request.header("content-length");
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            self.have(end + length)?;
            request.body = self.received[end..end + length].to_vec();
            end + length
        };
        request.bytes = self.received.drain(..end).collect();
        Ok(Some(request))
    }

    /// The chunks from there, and where they end.
    fn chunks(&mut self, mut at: usize) -> io::Result<(Vec<u8>, usize)> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                match find(&self.received[at..], b"\r\n") {
                    Some(length) => break at + length,
                    None => self.have(self.received.len() + 1)?,
                }
            };
            let size = String::from_utf8_lossy(&self.received[at..line]).into_owned();
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            let data = line + 2;
            self.have(data + size + 2)?;
            body.extend_from_slice(&self.received[data..data + size]);
            at = data + size + 2;
            if size == 0 {
                return Ok((body, at));
            }
        }
    }

    pub(crate) fn respond(&mut self, status: u16, headers: &str, body: &[u8]) -> io::Result<()> {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.write(&[head.as_bytes(), body].concat())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    fn have(&mut self, length: usize) -> io::Result<()> {
        while self.received.len() < length {
            if !self.receive()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time, as a network may.
    struct Trickle {
        input: Vec<u8>,
        output: Vec<u8>,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.input.len().min(3).min(buffer.len());
            let rest = self.input.split_off(length);
            buffer[..length].copy_from_slice(&std::mem::replace(&mut self.input, rest));
            Ok(length)
        }
    }

    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn client(input: &[&str]) -> Connection<Trickle> {
        Connection::new(Trickle {
            input: input.concat().into_bytes(),
            output: Vec::new(),
        })
    }

    #[test]
    fn requests_are_read_one_after_the_other_whatever_the_network_cuts_them_into() {
        let post = "POST / HTTP/1.1\r\nX-Amz-Target: A.B\r\ncontent-length: 4\r\n\r\n{ }\n";
        let mut client = client(&[post, "GET /next HTTP/1.1\r\nhost: a\r\n\r\n"]);
        let first = client.request().unwrap().unwrap();
        assert_eq!((&*first.method, &*first.path), ("POST", "/"));
        assert_eq!(first.header("x-amz-target"), Some("A.B"));
        assert_eq!(first.body, b"{ }\n");
        assert_eq!(first.bytes, post.as_bytes());
        let second = client.request().unwrap().unwrap();
        assert_eq!((&*second.path, second.body.len()), ("/next", 0));
        assert_eq!(client.request().unwrap(), None);
    }

    #[test]
    fn chunks_are_put_together() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = client(&[head, "3\r\n{\"a\r\n4;x=y\r\n\": 1\r\n1\r\n}\r\n0\r\n\r\n"]);
        let request = client.request().unwrap().unwrap();
        assert_eq!(request.body, br#"{"a": 1}"#);
        assert_eq!(client.request().unwrap(), None);
    }

    #[test]
    fn a_request_that_is_cut_is_an_error_and_none() {
        let mut client = client(&["POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}"]);
        assert!(client.request().is_err());
    }

    #[test]
    fn a_client_that_waits_for_it_is_told_to_go_on() {
        let head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        let mut client = client(&[head, "{}"]);
        client.request().unwrap().unwrap();
        client.respond(202, "", b"ok").unwrap();
        assert_eq!(
            client.stream.output,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 -\r\nContent-Length: 2\r\n\r\nok"
        );
    }
}
