//! The Rust reader, as a process of its own.

use std::process::Command;

use crate::Outcome;
use crate::program::Program;
use crate::scene::{Event, Scene, day_of};

const NEVER: &str = "3600000";

fn reader(scene: &Scene) -> Command {
    let mut command = scene.command(env!("CARGO_BIN_EXE_order-reader"));
    // One that was killed is missed after the session's time-out.
    command.env("DATABASE_URL", scene.database_url()).args(["--kafka", "session.timeout.ms=6000"]);
    command
}

/// Twice the same event, with and without others in between, and one of the demonstration.
fn events() -> [Event; 6] {
    let (first, second) = (Event::of_order(15), Event::of_order(16));
    [first.clone(), first.clone(), second.clone(), Event::of_the_demonstration(), first, second]
}

/// A repeat changes nothing; a reader that was stopped goes on where it was.
pub(crate) async fn counts_once(scene: Scene) -> Outcome {
    scene.publish(&events());
    let reader_before = Program::start(&mut reader(&scene));
    reader_before.says(3, "counted").await;
    reader_before.says(3, "a repeat, dropped").await;
    assert_eq!(scene.revenue().await, day_of(2, 1));
    let ended = reader_before.stop().await;
    assert!(ended.success(), "{ended}\n{}", reader_before.everything());
    assert_eq!(scene.committed(), 6, "a reader that is stopped commits where it is");

    scene.publish(&[Event::of_order(15), Event::of_order(17)]);
    let reader_after = Program::start(&mut reader(&scene));
    reader_after.says(1, "order 17: 3490 paid, counted").await;
    reader_after.says(1, "order 15: 3490 paid, a repeat, dropped").await;
    assert!(reader_after.stop().await.success());
    assert_eq!(reader_after.said("order "), 2, "{}", reader_after.everything());
    assert_eq!(scene.revenue().await, day_of(3, 1));
    None
}

/// SIGKILL when every transaction is committed and no position is.
pub(crate) async fn killed(scene: Scene) -> Outcome {
    scene.publish(&events());
    let victim = Program::start(reader(&scene).args(["--commit-interval", NEVER]));
    victim.says(6, "order ").await;
    victim.kill().await;
    assert_eq!(scene.committed(), 0, "it was killed before that");
    assert_eq!(scene.revenue().await, day_of(2, 1));

    let next = Program::start(&mut reader(&scene));
    next.says(6, "a repeat, dropped").await;
    assert!(next.stop().await.success());
    assert_eq!(next.said("counted"), 0, "{}", next.everything());
    assert_eq!(scene.revenue().await, day_of(2, 1));
    assert_eq!(scene.committed(), 6);
    None
}

/// It is not skipped: the reader ends, and ends again when it is started again.
pub(crate) async fn unreadable(scene: Scene) -> Outcome {
    let mut newer = Event::of_order(15);
    newer.headers = vec![("ce_type".to_owned(), "order-completed.v2".to_owned())];
    scene.publish(&[Event::of_order(15), newer, Event::of_order(15)]);
    for start in 1..=2 {
        let reader = Program::start(&mut reader(&scene));
        let ended = reader.ended().await;
        let said = reader.everything();
        assert_eq!(ended.code(), Some(1), "start {start}: {said}");
        assert!(said.contains(&format!("error: topic {}, partition ", scene.topic)), "start {start}: {said}");
        let place = ", offset 1 cannot be read, and is not skipped: unknown event type or version `order-completed.v2`";
        assert!(said.contains(place), "start {start}: {said}");
    }
    assert_eq!(scene.revenue().await, day_of(1, 0));
    None
}
