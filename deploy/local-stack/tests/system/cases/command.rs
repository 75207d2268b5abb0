//! The command itself, as a person starts it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use engines::child_process::ChildProcess;
use engines::guard::{AtTheEnd, at_the_end};
use engines::postgres::TestDatabase;
use local_stack::service_log::LogLine;
use local_stack::services::{PARTITIONS, TOPIC};
use local_stack::shop::local_client;

use crate::heard::{Heard, within};
use crate::scene::{Scene, program};
use crate::topic_reader::TopicReader;

static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running `local-stack`, and what it printed.
struct Running {
    process: ChildProcess,
    printed: Heard,
    /// Where it makes its folders.
    place: PathBuf,
    /// That place is removed even if we are killed.
    removal: Option<AtTheEnd>,
}

impl Running {
    /// Starts it with a folder of its own for temporary files, so that what it leaves behind can be seen.
    fn start(arguments: &[&str]) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("local-stack-test-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        // Once it is empty: what is in it belongs to a guard that may still be at work.
        let empty = r#"for try in $(seq 300); do rmdir "$0" || test ! -e "$0" && exit; sleep 0.1; done"#;
        let removal =
            at_the_end(Command::new("sh").args(["-c", empty]).arg(&place)).expect("the guard hears");
        std::fs::create_dir(&place).expect("a folder");
        // PostgreSQL may run as another user, who must get there.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&place, open).expect("ours");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let process = {
            let mut command = Command::new(program());
            command.args(arguments).env("TMPDIR", &place).stdin(Stdio::null());
            command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
            ChildProcess::spawn(&mut command).expect("starts")
        };
        let printed = Heard::default();
        let listener = printed.listener();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(reader)) {
                listener(&LogLine::read(&line.expect("text")));
            }
        });
        Self { process, printed, place, removal: Some(removal) }
    }

    fn text(&self) -> String {
        self.printed.messages().join("\n")
    }

    /// The ids of its services, as it tells them to a person.
    fn services(&self) -> Vec<i32> {
        let text = self.text();
        let line = text.lines().find(|line| line.contains("kill -9 PID")).expect("it tells the ids");
        let ids = line.rsplit_once(": ").expect("ids").1.split(", ");
        ids.map(|id| id.rsplit(' ').next().expect("an id").parse().expect("a number")).collect()
    }

    fn left_behind(&self) -> usize {
        std::fs::read_dir(&self.place).expect("it is there").count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.text());
        }
        if let (Ok(()), Some(removal)) = (std::fs::remove_dir(&self.place), self.removal.take()) {
            removal.release();
        }
    }
}

fn alive(id: i32) -> bool {
    let pid = rustix::process::Pid::from_raw(id).expect("an id");
    rustix::process::test_kill_process(pid).is_ok()
}

/// `--once`: every order arrives, two are refused, nothing is left.
pub(crate) async fn once() {
    let running = Running::start(&["--once", "--orders", "5", "--port", "0"]);
    let status = within("it ends", running.process.exited()).await;
    let text = running.text();
    assert!(status.success(), "{status}\n{text}");
    assert!(text.contains("committed = delivered = 5"), "{text}");
    assert!(text.contains("orderId=5)"), "{text}");
    assert_eq!(running.left_behind(), 0);
}

/// `--kafka` and `--database-url`: it migrates the database and creates the topic, and takes both as they are when it
/// is run again; the orders are in them.
pub(crate) async fn on_real_servers(scene: Scene) {
    let database = TestDatabase::create(&scene.stage.servers.postgres()).await.expect("a database");
    let kafka = scene.kafka().bootstrap_servers();
    let url = database.url();
    for run in 1..=2 {
        let running = Running::start(&[
            "--once",
            "--orders",
            "5",
            "--port",
            "0",
            "--kafka",
            &kafka,
            "--database-url",
            &url,
        ]);
        let status = within("it ends", running.process.exited()).await;
        let text = running.text();
        assert!(status.success(), "{status}\n{text}");
        assert!(text.contains(&format!("Kafka at {kafka}")), "{text}");
        assert!(text.contains("committed = delivered = 5"), "{text}");
        assert_eq!(running.left_behind(), 0);
        let reader = TopicReader::open(&kafka, TOPIC, PARTITIONS);
        assert_eq!(reader.records_on_the_broker(), 5 * run);
    }
}

/// Whoever kills order-service finds it again where it was.
pub(crate) async fn comes_back() {
    let running = Running::start(&["--orders", "1", "--port", "0"]);
    running.printed.says("kill -9 PID").await;
    let listens = |text: &str| {
        let lines = text.lines().filter_map(|line| LogLine::read(line).listening()?.http);
        lines.collect::<Vec<_>>()
    };
    let before = listens(&running.text());
    let id = running.services()[0];
    let pid = rustix::process::Pid::from_raw(id).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
    running
        .printed
        .until("it listens again", |lines| {
            lines.iter().filter(|line| line.listening().is_some_and(|said| said.http.is_some())).count() == 2
        })
        .await;
    let after = listens(&running.text());
    assert_eq!(after, [before[0], before[0]]);
    let client = local_client().expect("a client");
    let answer = client.get(format!("http://{}/products/1", before[0])).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);

    running.process.interrupt();
    let status = within("it ends", running.process.exited()).await;
    assert!(status.success(), "Ctrl-C is a good end: {status}\n{}", running.text());
    assert_eq!(running.left_behind(), 0);
}

/// SIGKILL: its guard does the rest.
pub(crate) async fn killed() {
    let running = Running::start(&["--orders", "1", "--port", "0"]);
    running.printed.says("kill -9 PID").await;
    let services = running.services();
    assert!(services.iter().all(|id| alive(*id)) && services.len() == 3);
    assert_eq!(running.left_behind(), 1);
    running.process.kill();
    running.process.exited().await;
    let gone = async {
        while services.iter().any(|id| alive(*id)) || running.left_behind() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("nothing is left", gone).await;
}
