//! # What guard and parent say to one another
//!
//! A message is the number of its words and the words, each ended by a NUL: the one byte that neither a path nor a
//! command can hold. One that was cut short, because its sender was killed while it wrote, is no message: half a
//! path would be somebody else's folder.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::Command;

const PROTECT: &str = "protect";
const RELEASE: &str = "release";
const AT_THE_END: &str = "at-the-end";
const NOT_AT_THE_END: &str = "not-at-the-end";
const DISMISSED: &str = "dismissed";

/// What a guard is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// From now on this folder goes at the end.
    Protect(PathBuf),
    /// Its owner has removed it.
    Release(PathBuf),
    /// This command runs at the end, under a number to take it back by.
    AtTheEnd(u64, CommandWords),
    /// It need not run any more.
    NotAtTheEnd(u64),
    /// Nothing is left to do.
    Dismissed,
}

/// A command as words: program, arguments, folder and what is different in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandWords {
    folder: OsString,
    /// None: the variable is taken away.
    environment: Vec<(OsString, Option<OsString>)>,
    program: OsString,
    arguments: Vec<OsString>,
}

impl From<&Command> for CommandWords {
    fn from(command: &Command) -> Self {
        let environment =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(OsStr::to_owned)));
        Self {
            folder: command
                .get_current_dir()
                .map_or_else(|| "/".into(), |folder| folder.as_os_str().to_owned()),
            environment: environment.collect(),
            program: command.get_program().to_owned(),
            arguments: command.get_args().map(OsStr::to_owned).collect(),
        }
    }
}

impl CommandWords {
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn words(&self) -> Vec<OsString> {
        let mut words = vec![self.folder.clone(), self.environment.len().to_string().into()];
        for (name, value) in &self.environment {
            let value = value.as_ref().map_or_else(OsString::new, |value| {
                let mut text = OsString::from("=");
                text.push(value);
                text
            });
            words.extend([name.clone(), value]);
        }
        words.push(self.program.clone());
        words.extend(self.arguments.iter().cloned());
        words
    }

    fn read(words: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let folder = words.next()?;
        let count: usize = number(&words.next()?)?;
        let mut environment = Vec::new();
        for _ in 0..count {
            let (name, value) = (words.next()?, words.next()?);
            environment.push((
                name,
                value.as_bytes().strip_prefix(b"=").map(|value| OsStr::from_bytes(value).to_owned()),
            ));
        }
        Some(Self { folder, environment, program: words.next()?, arguments: words.collect() })
    }
}

impl Message {
    fn words(&self) -> Vec<OsString> {
        match self {
            Self::Protect(folder) => vec![PROTECT.into(), folder.into()],
            Self::Release(folder) => vec![RELEASE.into(), folder.into()],
            Self::AtTheEnd(number, command) => {
                let mut words = vec![AT_THE_END.into(), number.to_string().into()];
                words.extend(command.words());
                words
            }
            Self::NotAtTheEnd(number) => vec![NOT_AT_THE_END.into(), number.to_string().into()],
            Self::Dismissed => vec![DISMISSED.into()],
        }
    }

    /// Written at once, so that messages of several threads do not mix.
    pub(super) fn write(&self, pipe: &mut impl Write) -> std::io::Result<()> {
        let words = self.words();
        let mut bytes = format!("{}\0", words.len()).into_bytes();
        for word in &words {
            bytes.extend(word.as_bytes());
            bytes.push(0);
        }
        pipe.write_all(&bytes)
    }

    /// The next message; none when there is no whole one any more.
    pub(super) fn read(pipe: &mut impl BufRead) -> Option<Self> {
        let count: usize = number(&word(pipe)?)?;
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(word(pipe)?);
        }
        let mut words = words.into_iter();
        let verb = words.next()?;
        match verb.to_str()? {
            PROTECT => Some(Self::Protect(words.next()?.into())),
            RELEASE => Some(Self::Release(words.next()?.into())),
            AT_THE_END => Some(Self::AtTheEnd(number(&words.next()?)?, CommandWords::read(&mut words)?)),
            NOT_AT_THE_END => Some(Self::NotAtTheEnd(number(&words.next()?)?)),
            DISMISSED => Some(Self::Dismissed),
            _ => None,
        }
    }
}

fn word(pipe: &mut impl BufRead) -> Option<OsString> {
    let mut bytes = Vec::new();
    pipe.read_until(0, &mut bytes).ok()?;
    // Without its end it was cut short.
    (bytes.pop() == Some(0)).then(|| OsString::from_vec(bytes))
}

fn number<N: std::str::FromStr>(word: &OsStr) -> Option<N> {
    word.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Message> {
        let mut command = Command::new("docker");
        command
            .args(["rm", "", "two\nlines", "= "])
            .env("SET", "to this")
            .env("EMPTY", "")
            .env_remove("GONE");
        vec![
            Message::Protect("/a folder\nof two lines".into()),
            Message::Release("/b".into()),
            Message::AtTheEnd(7, CommandWords::from(&command)),
            Message::NotAtTheEnd(7),
            Message::AtTheEnd(8, CommandWords::from(&Command::new("true"))),
            Message::Dismissed,
        ]
    }

    fn read_all(mut bytes: &[u8]) -> Vec<Message> {
        std::iter::from_fn(|| Message::read(&mut bytes)).collect()
    }

    #[test]
    fn every_message_is_read_as_it_was_said() {
        let mut bytes = Vec::new();
        for message in all() {
            message.write(&mut bytes).unwrap();
        }
        assert_eq!(read_all(&bytes), all());
    }

    #[test]
    fn a_message_that_was_cut_short_is_none() {
        for message in all() {
            let mut bytes = Vec::new();
            message.write(&mut bytes).unwrap();
            for length in 0..bytes.len() {
                assert_eq!(read_all(&bytes[..length]), [], "{message:?} after {length} bytes");
            }
        }
    }

    #[test]
    fn a_command_is_the_same_on_the_other_side() {
        let mut command = Command::new("docker");
        command.args(["rm", "two words"]).env("SET", "to this").env_remove("GONE").current_dir("/tmp");
        let there = CommandWords::from(&command).command();
        assert_eq!(format!("{there:?}"), format!("{command:?}"));
    }
}
