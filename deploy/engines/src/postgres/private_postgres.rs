//! # The private server
//!
//! `initdb`, start on a free port, wait until it really answers a connection, stop. A test may crash it and
//! start it again on the same folder and port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use super::account::Account;
use super::binaries::Binaries;
use super::folder::{PrivateFolder, random_text};
use super::{PostgresError, PostgresOptions, data_folder, error, fetch, settings};
use crate::child_process::{self, ChildProcess};

const USER: &str = "postgres";
const START: Duration = Duration::from_mins(1);
const FAST: Duration = Duration::from_secs(10);
const IMMEDIATE: Duration = Duration::from_secs(8);
const STEP: Duration = Duration::from_millis(20);
/// How often another program may snatch the port that we just saw free.
const PORTS: u32 = 5;

/// A real PostgreSQL that goes when this value goes.
#[derive(Debug)]
pub struct PrivatePostgres {
    // Dropped in this order: first the server dies, then its folder goes.
    server: ChildProcess,
    folder: PrivateFolder,
    binaries: Binaries,
    account: Account,
    port: u16,
    password: String,
}

impl PrivatePostgres {
    /// Finds or fetches the programs, makes a cluster and returns once it serves.
    pub async fn start(options: PostgresOptions) -> Result<Self, PostgresError> {
        let account = Account::for_servers();
        let binaries = fetch::find_or_fetch(account, &options).await?;
        (options.progress)(&format!("preparing PostgreSQL {}", binaries.version));
        let (folder, password) = blocking({
            let binaries = binaries.clone();
            move || make_cluster(&binaries, account)
        })
        .await?;
        let mut port = free_port(&folder)?;
        for attempt in 1.. {
            write_settings(&folder, port, options.durable)?;
            match serve(&binaries, &folder, account, port, &password).await {
                Ok(server) => return Ok(Self { server, folder, binaries, account, port, password }),
                Err(PostgresError::Port { .. }) if attempt < PORTS => port = free_port(&folder)?,
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop returns")
    }

    /// How to reach `database`, password included; `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        url(self.port, &self.password, database)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The server's version, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// Where its programs are.
    pub fn binaries(&self) -> &std::path::Path {
        &self.binaries.folder
    }

    /// Where its data is.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder.path
    }

    /// The postmaster's process id.
    pub fn id(&self) -> i32 {
        self.server.id()
    }

    /// Returns when the server has ended, which nobody here asked it to.
    pub async fn ended(&self) -> String {
        self.server.exited().await;
        error::last_lines(&self.folder.read_log())
    }

    /// SIGKILL, as a power failure would: nothing is flushed that was not.
    pub async fn crash(&self) {
        self.server.kill();
        self.server.exited().await;
    }

    /// A shutdown in good order that waits for nobody: every client is told and disconnected, what runs is rolled back.
    pub async fn shut_down(&self) {
        self.server.interrupt();
        self.server.exited().await;
    }

    /// Starts the server again that crashed or was shut down, on the same folder and port.
    pub async fn restart(&mut self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + START;
        loop {
            let started = serve(&self.binaries, &self.folder, self.account, self.port, &self.password).await;
            match started {
                Ok(server) => {
                    self.server = server;
                    return Ok(());
                }
                // The crashed server's children take a moment to see that it is gone; until then they
                // hold its memory and its port, and PostgreSQL rightly refuses.
                Err(PostgresError::NoRoomInKernel { log } | PostgresError::NotStarted { log, .. })
                    if log.contains("still in use") && Instant::now() < deadline => {}
                Err(PostgresError::Port { .. }) if Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Ends it in good order, or else for sure, and removes its folder.
    pub async fn stop(self) {
        self.server.thaw();
        self.server.interrupt();
        if tokio::time::timeout(FAST, self.server.exited()).await.is_err() {
            self.server.quit();
            if tokio::time::timeout(IMMEDIATE, self.server.exited()).await.is_err() {
                self.server.kill();
                self.server.exited().await;
            }
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // An immediate shutdown ends the children too and lets go of the shared memory, which a SIGKILL
        // does not; the handle's own drop makes sure.
        self.server.thaw();
        self.server.quit();
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.server.is_running() && Instant::now() < deadline {
            std::thread::sleep(STEP);
        }
    }
}

fn url(port: u16, password: &str, database: &str) -> String {
    format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn make_cluster(binaries: &Binaries, account: Account) -> Result<(PrivateFolder, String), PostgresError> {
    let folder = PrivateFolder::create(account)?;
    let failed = |cause| PostgresError::Folder { folder: folder.path.clone(), cause };
    let password = random_text().map_err(failed)?;
    let password_file = folder.write_private("password", &password, account).map_err(failed)?;
    let mut command = Command::new(binaries.program("initdb"));
    account
        .dress(&mut command)
        .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"])
        // The folder is new and temporary: nothing in it is worth waiting for the disk yet.
        .args(["--no-sync", "--no-instructions", "--pwfile"])
        .arg(&password_file)
        .arg("--pgdata")
        .arg(data_folder(&folder.path))
        .current_dir("/");
    without_pg_variables(&mut command);
    let (status, said) = child_process::run(&mut command)?;
    std::fs::remove_file(&password_file).map_err(failed)?;
    if status.success() {
        return Ok((folder, password));
    }
    Err(error::from_log(&folder.path, &binaries.folder, &said))
}

/// PGDATA, PGPORT, PGOPTIONS and the like belong to the person's own server.
fn without_pg_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").env("TZ", "UTC");
}

fn free_port(folder: &PrivateFolder) -> Result<u16, PostgresError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|cause| PostgresError::Folder { folder: folder.path.clone(), cause })
}

/// In a file of its own that the server reads last.
fn write_settings(folder: &PrivateFolder, port: u16, durable: bool) -> Result<(), PostgresError> {
    std::fs::write(data_folder(&folder.path).join("postgresql.auto.conf"), settings::text(port, durable))
        .map_err(|cause| PostgresError::Folder { folder: folder.path.clone(), cause })
}

/// Starts the server and waits until it answers, or has ended, or took too long.
async fn serve(
    binaries: &Binaries,
    folder: &PrivateFolder,
    account: Account,
    port: u16,
    password: &str,
) -> Result<ChildProcess, PostgresError> {
    let server = spawn(binaries, folder, account)?;
    let answered = async {
        let address = url(port, password, "postgres");
        while tokio_postgres::connect(&address, NoTls).await.is_err() {
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::select! {
        () = answered => Ok(server),
        _ = server.exited() => Err(error::from_log(&folder.path, &binaries.folder, &folder.read_log())),
        () = tokio::time::sleep(START) => Err(PostgresError::TooSlow {
            seconds: START.as_secs(),
            log: error::last_lines(&folder.read_log()),
        }),
    }
}

fn spawn(
    binaries: &Binaries,
    folder: &PrivateFolder,
    account: Account,
) -> Result<ChildProcess, PostgresError> {
    let failed = |cause| PostgresError::Folder { folder: folder.path.clone(), cause };
    // A log of its own for each start, or an earlier start's words would be taken for this one's.
    let log = std::fs::File::create(folder.log()).map_err(failed)?;
    let mut command = Command::new(binaries.program("postgres"));
    account
        .dress(&mut command)
        .arg("-D")
        .arg(data_folder(&folder.path))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log);
    without_pg_variables(&mut command);
    Ok(ChildProcess::spawn(&mut command)?)
}
