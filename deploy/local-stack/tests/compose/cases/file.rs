//! The file itself, and what it starts.

use serde_json::Value;

use crate::compose::{docker, text};
use crate::stack::Stack;

/// Whoever reads warnings at every start stops reading them; and a port that others reach is nobody's default.
pub(crate) fn is_clean(stack: &Stack) {
    let output = stack.compose.run(&["--profile", "*", "config", "--format", "json"]);
    assert_eq!(text(&output.stderr), "");
    let config: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let parts = config["services"].as_object().expect("services");
    let ports = parts.values().flat_map(|part| part["ports"].as_array().into_iter().flatten());
    let hosts: Vec<&Value> = ports.map(|port| &port["host_ip"]).collect();
    assert!(hosts.len() >= 7, "{hosts:?}");
    assert!(hosts.iter().all(|host| **host == "127.0.0.1"), "{hosts:?}");
    for (name, part) in parts {
        assert!(part["mem_limit"].is_string(), "{name} has no bound of memory");
    }
}

/// Not one process of any container.
pub(crate) fn nobody_is_root(stack: &Stack) {
    let output = stack.compose.run(&["ps", "--quiet"]);
    let containers = text(&output.stdout);
    assert_eq!(containers.lines().count(), 7, "{containers}");
    for container in containers.lines() {
        let processes = docker(&["top", container, "-eo", "pid,uid,args"]);
        let mut users = processes.lines().skip(1).map(|process| process.split_whitespace().nth(1)).peekable();
        assert!(users.peek().is_some(), "{processes}");
        assert!(users.all(|user| user.is_some_and(|user| user != "0")), "{processes}");
    }
}
