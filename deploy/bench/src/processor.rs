//! # Processor time and memory of processes
//!
//! From `/proc`, so on Linux only; elsewhere the columns stay empty. What a throughput is bound by shows in who
//! used the processors while it was measured.

use std::collections::BTreeMap;
use std::fs;
use std::pin::pin;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `USER_HZ`: what `/proc` counts in, on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Whose processor time is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// order-service; none while the baseline runs.
    pub(crate) service: Option<i32>,
    /// PostgreSQL's postmaster; its children count too.
    pub(crate) postgres: i32,
    /// The brokers, as far as their processes are known.
    pub(crate) brokers: Vec<i32>,
}

/// Processors in use, on average: 1.0 is one processor all the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// order-service.
    pub(crate) service: f64,
    /// PostgreSQL.
    pub(crate) postgres: f64,
    /// What offers the load: this process, or pgbench.
    pub(crate) driver: f64,
    /// The broker.
    pub(crate) broker: f64,
}

/// A look at the clocks; the next one tells the difference.
pub(crate) struct Reading {
    at: Instant,
    watched: Watched,
    used: Usage,
}

impl Reading {
    /// Looks now.
    pub(crate) fn take(watched: Watched) -> Self {
        let used = Usage {
            service: watched.service.map_or(0.0, |id| ticks(id, Children::No)),
            postgres: ticks(watched.postgres, Children::Ended) + running_children(watched.postgres),
            driver: ticks(std::process::id().cast_signed(), Children::Ended),
            broker: watched.brokers.iter().map(|id| ticks(*id, Children::No)).sum(),
        };
        Self { at: Instant::now(), watched, used }
    }

    /// What was used since then.
    pub(crate) fn since(&self) -> Usage {
        let now = Self::take(self.watched.clone());
        let seconds = now.at.duration_since(self.at).max(Duration::from_millis(1)).as_secs_f64();
        let rate = |now: f64, then: f64| (now - then).max(0.0) / TICKS_PER_SECOND / seconds;
        Usage {
            service: rate(now.used.service, self.used.service),
            postgres: rate(now.used.postgres, self.used.postgres),
            driver: rate(now.used.driver, self.used.driver),
            broker: rate(now.used.broker, self.used.broker),
        }
    }
}

/// Resident memory in bytes: all of it, and the part that is not a file's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resident {
    /// `VmRSS`.
    pub(crate) all: u64,
    /// `RssAnon`.
    pub(crate) anonymous: u64,
}

impl Resident {
    /// Of this process, now; nothing where there is no `/proc`.
    pub(crate) fn of(id: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        Some(Self { all: kilobytes(&status, "VmRSS:")?, anonymous: kilobytes(&status, "RssAnon:")? })
    }
}

/// What comes of `work`, and the most memory that this process had meanwhile, looked at twenty times a second.
pub(crate) async fn with_most_resident<T>(id: i32, work: impl Future<Output = T>) -> (T, Resident) {
    let mut highest = Resident::of(id).unwrap_or_default();
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return (done, highest),
            () = tokio::time::sleep(LOOK_EVERY) => {
                let now = Resident::of(id).unwrap_or_default();
                if now.all > highest.all {
                    highest = now;
                }
            }
        }
    }
}

/// Of bytes: 10^6 of them.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The clocks of this process's threads; the next look tells who used the processors in between.
pub(crate) struct Threads {
    at: Instant,
    /// By thread: its name, and its ticks.
    used: BTreeMap<i32, (String, f64)>,
}

impl Threads {
    /// Looks now.
    pub(crate) fn now() -> Self {
        let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let used = ids.filter_map(|id| {
            let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok()?;
            Some((id, (name(&stat).to_owned(), own_ticks(&stat))))
        });
        Self { at: Instant::now(), used: used.collect() }
    }

    /// What each used since then, as [`Usage`] counts it, busiest first.
    pub(crate) fn since(&self) -> Vec<(String, f64)> {
        let now = Self::now();
        let seconds = now.at.duration_since(self.at).max(Duration::from_millis(1)).as_secs_f64();
        let mut busy: Vec<(String, f64)> = now
            .used
            .into_iter()
            .map(|(id, (name, ticks))| {
                let before = self.used.get(&id).map_or(0.0, |(_, ticks)| *ticks);
                (name, (ticks - before).max(0.0) / TICKS_PER_SECOND / seconds)
            })
            .collect();
        busy.sort_by(|one, other| other.1.total_cmp(&one.1));
        busy
    }
}

/// Processor time of this process so far, in seconds.
pub(crate) fn seconds_used(id: i32) -> f64 {
    ticks(id, Children::No) / TICKS_PER_SECOND
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[derive(Clone, Copy)]
enum Children {
    No,
    /// Those that were waited for, and theirs.
    Ended,
}

fn ticks(id: i32, children: Children) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    match children {
        Children::No => own_ticks(&stat),
        Children::Ended => times(&stat).sum(),
    }
}

fn own_ticks(stat: &str) -> f64 {
    times(stat).take(2).sum()
}

/// utime, stime, cutime, cstime
fn times(stat: &str) -> impl Iterator<Item = f64> {
    fields(stat).skip(11).take(4).filter_map(|text| text.parse::<f64>().ok())
}

fn running_children(parent: i32) -> f64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0.0 };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_parent = |id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        fields(&stat).nth(1).and_then(|text| text.parse::<i32>().ok()) == Some(parent)
    };
    ids.filter(of_parent).map(|id| ticks(id, Children::Ended)).sum()
}

fn name(stat: &str) -> &str {
    let end = stat.rfind(')').unwrap_or(stat.len());
    stat[..end].split_once('(').map_or("", |(_, name)| name)
}

/// What follows the name, which stands in brackets and may hold anything: state, parent, …
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1";
        assert_eq!(fields(stat).nth(1), Some("3"));
        assert_eq!(fields(stat).skip(11).take(4).collect::<Vec<_>>(), ["50", "60", "70", "80"]);
        assert_eq!(name(stat), "a) b");
        assert!((own_ticks(stat) - 110.0).abs() < 1e-9);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(kilobytes("Name:\tx\nVmRSS:\t    1536 kB\n", "VmRSS:"), Some(1536 * 1024));
        assert_eq!(kilobytes("Name:\tx\n", "VmRSS:"), None);
    }
}
