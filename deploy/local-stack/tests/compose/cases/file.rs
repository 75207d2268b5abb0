//! The file itself, and what it starts.

use serde_json::Value;

use crate::compose::docker;
use crate::stack::Stack;

/// Whoever reads warnings at every start stops reading them; and a port that others reach is nobody's default.
pub(crate) fn is_clean(stack: &Stack) {
    let config = stack.compose.run(&["--profile", "*", "config", "--format", "json"]);
    // A warning would stand in it.
    let config: Value = serde_json::from_str(&config).unwrap_or_else(|_| panic!("{config}"));
    let parts = config["services"].as_object().expect("services");
    let ports = parts.values().flat_map(|part| part["ports"].as_array().into_iter().flatten());
    let hosts: Vec<&Value> = ports.map(|port| &port["host_ip"]).collect();
    assert!(hosts.len() >= 7, "{hosts:?}");
    assert!(hosts.iter().all(|host| **host == "127.0.0.1"), "{hosts:?}");
    for (name, part) in parts {
        assert!(part["mem_limit"].is_string(), "{name} has no bound of memory");
    }
}

/// The process that a container is, by the container's own count of users.
pub(crate) fn nobody_is_root(stack: &Stack) {
    let containers = stack.compose.run(&["ps", "--quiet"]);
    assert_eq!(containers.lines().count(), 7, "{containers}");
    for container in containers.lines() {
        let status = docker(&["exec", container, "cat", "/proc/1/status"]);
        let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a process has users");
        assert!(users.split_whitespace().count() == 4, "{status}");
        assert!(users.split_whitespace().all(|user| user != "0"), "{status}");
    }
}
