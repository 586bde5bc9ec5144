//! The least that a function can do: the requests of another one, byte by byte, over sockets and TLS. No SDK, no runtime, no
//! decision. Certificates are verified, against all authorities of the file that the others read.
//!
//! What it sends is in the file that `SCRIPT` names, as the benchmark has recorded it: parts that begin with a line
//! `call AUTHORITY LENGTH` or `answer PATH LENGTH`, and that many bytes behind it.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let script = std::fs::read(std::env::var("SCRIPT")?)?;
    let script = Script::parse(&script)?;
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API")?;
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n");
    let mut api = Connection::new(connect(&api)?);
    let mut aws = Aws::default();
    loop {
        let (head, _event) = api.exchange(next.as_bytes())?;
        let id = header(&head, "lambda-runtime-aws-request-id").ok_or("an event without an id")?;
        for (authority, request) in &script.calls {
            aws.connection(authority)?.exchange(request)?;
        }
        let (path, answer) = script.answer;
        let head = format!(
            "POST /2018-06-01/runtime/invocation/{id}/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        api.exchange(&[head.as_bytes(), answer].concat())?;
    }
}

/// What is sent: each request with the address that it goes to, and the answer to Lambda with the end of its path.
struct Script<'a> {
    calls: Vec<(&'a str, &'a [u8])>,
    answer: (&'a str, &'a [u8]),
}

impl<'a> Script<'a> {
    fn parse(mut text: &'a [u8]) -> Result<Self> {
        let mut calls = Vec::new();
        loop {
            let end = text.iter().position(|byte| *byte == b'\n');
            let (line, rest) = text.split_at(end.ok_or("a script without an answer")?);
            let mut words = std::str::from_utf8(line)?.split(' ');
            let mut word = || words.next().ok_or("a line of three words");
            let (kind, place, length) = (word()?, word()?, word()?.parse()?);
            let (part, rest) = rest[1..]
                .split_at_checked(length)
                .ok_or("a script that is cut")?;
            if kind == "answer" {
                let answer = (place, part);
                return Ok(Self { calls, answer });
            }
            calls.push((place, part));
            text = rest;
        }
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// One connection for each address, made when it is first needed.
#[derive(Default)]
struct Aws {
    config: Option<Arc<ClientConfig>>,
    connections: Vec<(String, Connection<Tls>)>,
}

impl Aws {
    fn connection(&mut self, authority: &str) -> Result<&mut Connection<Tls>> {
        let known = self.connections.iter().position(|(of, _)| of == authority);
        let at = match known {
            Some(at) => at,
            None => {
                let config = match &self.config {
                    Some(config) => config,
                    None => self.config.insert(config()?),
                };
                let (host, _) = authority.split_once(':').ok_or("an address with a port")?;
                let name = ServerName::try_from(host.to_owned())?;
                let tls = ClientConnection::new(Arc::clone(config), name)?;
                let stream = StreamOwned::new(tls, connect(authority)?);
                self.connections
                    .push((authority.to_owned(), Connection::new(stream)));
                self.connections.len() - 1
            }
        };
        Ok(&mut self.connections[at].1)
    }
}

fn config() -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let authorities = CertificateDer::pem_file_iter(std::env::var("SSL_CERT_FILE")?)?;
    roots.add_parsable_certificates(authorities.flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn connect(authority: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// HTTP/1.1, of which each answer says its length.
struct Connection<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    fn new(stream: S) -> Self {
        let received = Vec::with_capacity(16 * 1024);
        Self { stream, received }
    }

    /// Sends a request, and answers the head and the body of what comes back.
    fn exchange(&mut self, request: &[u8]) -> Result<(String, &[u8])> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        self.received.clear();
        let end = loop {
            let end = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => self.receive()?,
            }
        };
        let head = std::str::from_utf8(&self.received[..end])?.to_owned();
        let length: usize = header(&head, "content-length")
            .ok_or("an answer without a length")?
            .parse()?;
        while self.received.len() < end + length {
            self.receive()?;
        }
        Ok((head, &self.received[end..]))
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 8 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err("the connection was closed".into()),
            read => {
                self.received.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_part_by_part_whatever_bytes_are_in_it() {
        let text = b"call localhost:1 8\nPOST\r\n\r\ncall localhost:2 3\ncalanswer error 2\n{}";
        let script = Script::parse(&text[..]).unwrap();
        let calls: [(&str, &[u8]); 2] = [("localhost:1", b"POST\r\n\r\n"), ("localhost:2", b"cal")];
        assert_eq!(script.calls, calls);
        assert_eq!(script.answer, ("error", &b"{}"[..]));
    }

    #[test]
    fn a_script_that_is_cut_is_refused() {
        for text in [
            "",
            "call localhost:1 8\nPOST",
            "call localhost:1\n",
            "answer response 3\n{}",
        ] {
            assert!(Script::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
