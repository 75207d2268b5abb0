//! The Spring reader: built by Maven, run by Java, on a real Kafka.

use std::process::Command;

use crate::Outcome;
use crate::program::Program;
use crate::real_kafka::RealKafka;
use crate::scene::{Event, Scene, day_of};

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../spring");
const OLDEST_JAVA: u32 = 17;

/// A repeat changes nothing; a version that it does not know stops it.
pub(crate) async fn counts_once(scene: Scene) -> Outcome {
    let wish = std::env::var("SYSTEM_TESTS").unwrap_or_default();
    if wish == "local" {
        return Some("SYSTEM_TESTS=local, and it needs Docker".to_owned());
    }
    if let Some(missing) = missing_tools() {
        return Some(missing);
    }
    let build =
        Program::start(Command::new("mvn").args(["--batch-mode", "--quiet", "-f", PROJECT, "package"]));
    let built = build.ended().await;
    if !built.success() {
        let said = build.everything();
        // Without its libraries there is nothing to try; whatever else Maven says is the project's fault.
        let offline = ["Could not transfer", "Non-resolvable", "Unknown host"];
        assert!(offline.iter().any(|words| said.contains(words)), "{said}");
        return Some("Maven cannot fetch the libraries of the Spring reader".to_owned());
    }

    let kafka = match RealKafka::start() {
        Ok(kafka) => kafka,
        Err(reason) if wish == "docker" => panic!("SYSTEM_TESTS=docker, but {reason}"),
        Err(reason) => return Some(reason),
    };
    counts_once_on(&scene.on(kafka.bootstrap_servers())).await;
    kafka.end().await;
    None
}

async fn counts_once_on(scene: &Scene) {
    let (first, second) = (Event::of_order(15), Event::of_order(16));
    scene.publish(&[
        first.clone(),
        first.clone(),
        second.clone(),
        Event::of_the_demonstration(),
        first,
        second,
    ]);
    let reader = Program::start(&mut reader(scene));
    reader.says(3, "counted").await;
    reader.says(3, "a repeat, dropped").await;
    assert_eq!(scene.revenue().await, day_of(2, 1));

    let mut newer = Event::of_order(17);
    newer.headers = vec![("ce_type".to_owned(), "order-completed.v2".to_owned())];
    scene.publish(&[newer]);
    let ended = reader.ended().await;
    let said = reader.everything();
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(said.contains(&format!("topic {}, partition ", scene.topic)), "{said}");
    assert!(said.contains("cannot be read, so this reader stops: unknown event type or version"), "{said}");
    assert_eq!((scene.committed(), scene.revenue().await), (6, day_of(2, 1)), "it was not skipped");
}

/// JDBC wants user and password apart from the address.
fn reader(scene: &Scene) -> Command {
    let url = scene.database_url();
    let address = url.strip_prefix("postgres://").and_then(|rest| rest.split_once('@'));
    let (account, address) = address.expect("user:password@host:port/name");
    let (user, password) = account.split_once(':').expect("user:password");
    let mut command = scene.command("java");
    command
        .args(["-XX:TieredStopAtLevel=1", "-jar", &format!("{PROJECT}/target/order-reader.jar")])
        .env("DATABASE_URL", format!("jdbc:postgresql://{address}"))
        .env("DATABASE_USER", user)
        .env("DATABASE_PASSWORD", password);
    command
}

/// What is not installed here, in words for a person.
fn missing_tools() -> Option<String> {
    let runs = |program: &str| Command::new(program).arg("-version").output().ok();
    if runs("mvn").is_none_or(|output| !output.status.success()) {
        return Some("Maven (mvn) is not installed".to_owned());
    }
    let Some(java) = runs("java") else { return Some("Java (java) is not installed".to_owned()) };
    // openjdk version "17.0.15" 2025-04-15
    let said = String::from_utf8_lossy(&java.stderr).into_owned();
    let version = said.split('"').nth(1).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    version
        .is_none_or(|version| version < OLDEST_JAVA)
        .then(|| format!("Java {OLDEST_JAVA} or newer is not installed"))
}
