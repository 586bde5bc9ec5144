//! Ctrl-C, at whatever moment, leaves no process and no open port behind.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A rehearsal that leaves its local AWS up, with the address that it prints and the rest of its output.
fn rehearse() -> (Child, SocketAddr, BufReader<ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rehearse"))
        .args(["teardown", "--keep", "--input"])
        .arg(rehearsal::root().join("events/teardown.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let address = output
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, url) = line.split_once("AWS_ENDPOINT_URL=http://")?;
            url.parse().ok()
        });
    (child, address.expect("it prints its address"), output)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

fn closes(address: SocketAddr) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        if TcpStream::connect(address).is_err() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn ctrl_c_leaves_no_open_port_and_ends_with_the_result_of_the_play() {
    let (mut child, address, _output) = rehearse();
    assert!(TcpStream::connect(address).is_ok());
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(closes(address), "{address} is still open");
}

#[test]
fn a_rehearsal_that_is_killed_leaves_no_open_port() {
    let (mut child, address, _output) = rehearse();
    signal(&child, "-KILL");
    child.wait().expect("it ends");
    assert!(closes(address), "{address} is still open");
}
