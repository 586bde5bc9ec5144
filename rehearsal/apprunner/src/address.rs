//! The address of a service: a loopback port that answers over TLS while the service is public and deployed.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::configuration::Configuration;
use crate::world::Emulation;

/// A port that belongs to one service for its whole life. While it is shut it is bound without listening: connections
/// are refused, and nobody else can get the port.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) port: u16,
    wanted: watch::Sender<bool>,
    is_open: watch::Receiver<bool>,
}

impl Address {
    pub(crate) fn reserve(
        emulation: &Arc<Emulation>,
        service_arn: &str,
    ) -> std::io::Result<Address> {
        let socket = bind(0)?;
        let port = socket.local_addr()?.port();
        let (wanted, door) = watch::channel(false);
        let (opened, is_open) = watch::channel(false);
        let keeper = Keeper {
            emulation: Arc::clone(emulation),
            service_arn: service_arn.to_owned(),
            port,
            door,
            opened,
        };
        emulation.runtime.spawn(keeper.keep(socket));
        Ok(Address {
            port,
            wanted,
            is_open,
        })
    }

    /// Opens or shuts the port; the future ends when that is done.
    pub(crate) fn open_if(&self, open: bool) -> impl Future<Output = ()> + use<> {
        self.wanted.send_replace(open);
        let mut is_open = self.is_open.clone();
        async move {
            // An error is a keeper that gave up, which it has complained about.
            let _ = is_open.wait_for(|is_open| *is_open == open).await;
        }
    }
}

/// Holds the port until the service lets go of its [`Address`].
struct Keeper {
    emulation: Arc<Emulation>,
    service_arn: String,
    port: u16,
    door: watch::Receiver<bool>,
    opened: watch::Sender<bool>,
}

impl Keeper {
    async fn keep(mut self, mut socket: TcpSocket) {
        while self.door.wait_for(|open| *open).await.is_ok() {
            let listener = match socket.listen(64) {
                Ok(listener) => listener,
                Err(error) => return self.complain(&error),
            };
            self.opened.send_replace(true);
            if self.let_in(&listener).await.is_err() {
                return;
            }
            // Before the listener lets go of the port: nobody else is to get it in between.
            socket = match bind(self.port) {
                Ok(socket) => socket,
                Err(error) => return self.complain(&error),
            };
            drop(listener);
            self.opened.send_replace(false);
        }
    }

    /// Serves until the door is to be shut; an error when the address is gone for good.
    async fn let_in(&mut self, listener: &TcpListener) -> Result<(), watch::error::RecvError> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                shut = self.door.wait_for(|open| !*open) => return shut.map(drop),
                Ok((stream, _)) = listener.accept() => {
                    connections.spawn(serve(Arc::clone(&self.emulation), self.service_arn.clone(), stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    fn complain(&self, error: &std::io::Error) {
        self.emulation.world().complain(format!(
            "{} lost its port {}: {error}",
            self.service_arn, self.port
        ));
    }
}

fn bind(port: u16) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?; // connections of an earlier opening may still be in TIME_WAIT
    socket.set_reuseport(true)?; // and its listener may still be there
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

async fn serve(emulation: Arc<Emulation>, service_arn: String, stream: TcpStream) {
    // A client that does not trust us, or goes away, is no business of the emulator.
    let Ok(stream) = emulation.acceptor.accept(stream).await else {
        return;
    };
    let answer = service_fn(|request: Request<Incoming>| {
        let (status, body) = emulation.answer(&service_arn, request.uri().path());
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_static(body.as_bytes())));
        async {
            Ok::<_, Infallible>(response.expect("a status and a fixed header make a response"))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

impl Emulation {
    /// What the application of a service answers to a request for `path`. 503 while paused is what users see; AWS does
    /// not document it.
    fn answer(&self, service_arn: &str, path: &str) -> (StatusCode, &'static str) {
        let world = self.world();
        let Some(service) = world
            .services
            .iter()
            .find(|service| service.arn == service_arn && service.is_up)
        else {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"status":"unavailable"}"#,
            );
        };
        if service.deployed.as_ref().map(Configuration::health_path) != Some(path) {
            return (StatusCode::NOT_FOUND, r#"{"status":"not found"}"#);
        }
        let digest = service.runs.digest.as_ref();
        let of_image = digest.and_then(|digest| world.image_answers.get(digest));
        match of_image.or(world.health_answers.get(&service.name)) {
            Some(status) if !status.is_success() => (*status, r#"{"status":"failing"}"#),
            arranged => (
                arranged.copied().unwrap_or(StatusCode::OK),
                r#"{"status":"ok"}"#,
            ),
        }
    }
}
