//! Ctrl-C, at whatever moment, leaves no process and no open port behind.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Lines};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A rehearsal that has just said that its local AWS is up until Ctrl-C, with what it says from there on.
fn rehearse() -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rehearse"))
        .args(["teardown", "--keep", "--input"])
        .arg(rehearsal::root().join("events/teardown.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let said = lines.find(|line| line.as_ref().is_ok_and(|it| it.contains("until Ctrl-C")));
    assert!(said.is_some(), "it says what ends it");
    (child, lines)
}

/// Where the local AWS is, which is said next.
fn address(lines: &mut Lines<BufReader<ChildStdout>>) -> SocketAddr {
    let mut lines = lines.map_while(Result::ok);
    let address = lines.find_map(|line| {
        let (_, url) = line.split_once("AWS_ENDPOINT_URL=http://")?;
        url.parse().ok()
    });
    address.expect("it prints its address")
}

/// At once: a program of its own would take longer than what is to be interrupted.
fn send(signal: Signal, child: &Child) {
    kill_process(Pid::from_child(child), signal).expect("it is ours");
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
    let (mut child, mut lines) = rehearse();
    send(Signal::INT, &child);
    let address = address(&mut lines);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(closes(address), "{address} is still open");
}

#[test]
fn a_rehearsal_that_is_killed_leaves_no_open_port() {
    let (mut child, mut lines) = rehearse();
    let address = address(&mut lines);
    assert!(TcpStream::connect(address).is_ok());
    send(Signal::KILL, &child);
    child.wait().expect("it ends");
    assert!(closes(address), "{address} is still open");
}
