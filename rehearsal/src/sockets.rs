//! What a rehearsal listens on.

use crate::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Every TCP socket on which this process or one of its descendants listens. Only Linux tells (`/proc`).
///
/// # Errors
/// [`Error::Start`] where there is no `/proc`.
pub fn listening() -> Result<Vec<SocketAddr>> {
    let unknown = |error: std::io::Error| {
        Error::Start(format!(
            "this system does not tell who listens where: {error}"
        ))
    };
    let owned = sockets_of(&family(std::process::id()).map_err(unknown)?);
    let mut listening = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // There is no tcp6 without IPv6.
        let lines = fs::read_to_string(table).unwrap_or_default();
        let found = lines
            .lines()
            .filter_map(parse)
            .filter(|(_, inode)| owned.contains(inode));
        listening.extend(found.map(|(address, _)| address));
    }
    listening.sort();
    Ok(listening)
}

/// A process and its descendants.
fn family(ancestor: u32) -> std::io::Result<HashSet<u32>> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "id (name) state parent …", and a name may hold parentheses and spaces.
        let parent = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.insert(id, parent.unwrap_or_default());
    }
    let descends = |mut id: u32| {
        while id != ancestor {
            match parents.get(&id) {
                Some(parent) => id = *parent,
                None => return false,
            }
        }
        true
    };
    Ok(parents.keys().copied().filter(|id| descends(*id)).collect())
}

fn sockets_of(processes: &HashSet<u32>) -> HashSet<String> {
    let files = processes
        .iter()
        .filter_map(|id| fs::read_dir(format!("/proc/{id}/fd")).ok())
        .flatten()
        .flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter_map(|target| {
            Some(
                target
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect()
}

/// A line of `/proc/net/tcp`: the address and the inode of a socket that listens (state 0A).
fn parse(line: &str) -> Option<(SocketAddr, String)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != "0A" {
        return None;
    }
    // Each group of eight digits is a 32-bit word in the machine's own byte order.
    let words: Option<Vec<_>> = (0..address.len() / 8)
        .map(|n| {
            Some(
                u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16)
                    .ok()?
                    .to_ne_bytes(),
            )
        })
        .collect();
    let address = match words?.as_slice() {
        [word] => IpAddr::V4(Ipv4Addr::from(*word)),
        words => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?)),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(address, port), (*fields.get(9)?).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_socket_that_this_process_listens_on_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(
            listening()
                .unwrap()
                .contains(&listener.local_addr().unwrap())
        );
    }

    #[test]
    fn only_sockets_that_listen_are_taken_from_the_table() {
        let line = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 0 100 0 0 10 0";
        assert_eq!(
            parse(line),
            Some((SocketAddr::from(([127, 0, 0, 1], 8080)), "4711".into()))
        );
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None);
    }
}
