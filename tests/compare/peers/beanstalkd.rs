//! beanstalkd, by a small client of our own that pipelines: it has no kept asynchronous one.

mod wire;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::wire::{Reply, Wire};
use crate::bodies::Bodies;
use crate::peer::{At, Consume, Doing, Load, Peer, Publish, Row, Visit};
use crate::server::{Place, find, version};
use crate::task::Kind;

/// Reserves that are asked for together at most.
const TAKEN: usize = 256;
/// The first of them waits so long.
const WAIT_SECONDS: u32 = 10;

/// beanstalkd with one `-f`.
pub(crate) struct Beanstalkd {
    pub(crate) name: &'static str,
    pub(crate) durability: &'static str,
    /// Milliseconds between syncs; 0: one for each change.
    pub(crate) sync_ms: &'static str,
}

struct Publishing {
    wire: Wire,
    load: Load,
    /// Puts without a reply.
    unconfirmed: usize,
}

struct Consuming {
    wire: Wire,
    wait_seconds: u32,
    /// Reserved, and to be deleted with the next write.
    held: Vec<u64>,
    /// Deletes without a reply.
    unconfirmed: usize,
    /// How many to reserve next.
    wanted: usize,
}

impl Beanstalkd {
    async fn consuming(place: &Place, tube: &str, wait_seconds: u32) -> Result<Consuming> {
        let mut wire = Wire::connect(place).await?;
        wire.say(&format!("watch {tube}"));
        wire.say("ignore default");
        wire.write().await?;
        wire.expect("WATCHING").await?;
        wire.expect("WATCHING").await?;
        Ok(Consuming {
            wire,
            wait_seconds,
            held: Vec::new(),
            unconfirmed: 0,
            wanted: 1,
        })
    }
}

impl Peer for Beanstalkd {
    fn row(&self) -> Row {
        Row {
            family: "beanstalkd",
            name: self.name,
            durability: self.durability,
            install: "apt-get install beanstalkd",
        }
    }

    fn program(&self) -> Option<PathBuf> {
        find("beanstalkd")
    }

    fn version(&self) -> String {
        let said = self.program().map(|path| version(&path, "-v"));
        said.unwrap_or_default()
    }

    fn has(&self, kind: Kind) -> bool {
        !matches!(kind, Kind::FanOut(_) | Kind::Shared)
    }

    fn prepare(&self, place: &Place) -> Result<()> {
        Ok(std::fs::create_dir(place.dir().join("log.d"))?)
    }

    fn command(&self, place: &Place) -> Result<Command> {
        let mut command = Command::new(self.program().context("not installed")?);
        command.args(["-l", "127.0.0.1", "-p", &place.port.to_string()]);
        command.arg("-b").arg(place.dir().join("log.d"));
        command.args(["-f", self.sync_ms, "-z", "1048576"]);
        Ok(command)
    }

    fn ready<'a>(&'a self, place: &'a Place) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut wire = Wire::connect(place).await?;
            wire.say("use default");
            wire.write().await?;
            wire.expect("USING").await
        })
    }

    /// A tube is there as soon as it is used.
    fn create<'a>(&'a self, _: At<'a>) -> Doing<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// It cannot forget a tube: what is left is taken out.
    fn remove<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut consuming = Self::consuming(at.place, at.name, 0).await?;
            while consuming.take(&mut |_| ()).await? > 0 {}
            consuming.settled().await
        })
    }

    fn left<'a>(&'a self, at: At<'a>) -> Doing<'a, u64> {
        Box::pin(async move {
            let mut wire = Wire::connect(at.place).await?;
            wire.say(&format!("stats-tube {}", at.name));
            wire.write().await?;
            let text = match wire.reply().await? {
                Reply::Ok(text) => String::from_utf8(text.to_vec())?,
                // A tube that is empty and nobody uses is gone.
                Reply::Word(said) if said == "NOT_FOUND" => return Ok(0),
                _ => bail!("no statistics"),
            };
            let state = |line: &str| {
                let (name, count) = line.split_once(": ")?;
                let states = ["ready", "reserved", "delayed", "buried"];
                let state = name.strip_prefix("current-jobs-")?;
                states.contains(&state).then(|| count.parse::<u64>().ok())?
            };
            Ok(text.lines().filter_map(state).sum())
        })
    }

    fn publisher<'a>(&'a self, at: At<'a>, load: Load) -> Doing<'a, Box<dyn Publish>> {
        Box::pin(async move {
            let mut wire = Wire::connect(at.place).await?;
            wire.say(&format!("use {}", at.name));
            wire.write().await?;
            wire.expect("USING").await?;
            let publishing = Publishing {
                wire,
                load,
                unconfirmed: 0,
            };
            Ok(Box::new(publishing) as Box<dyn Publish>)
        })
    }

    fn consumer<'a>(&'a self, at: At<'a>, _: Option<usize>) -> Doing<'a, Box<dyn Consume>> {
        Box::pin(async move {
            let consuming = Self::consuming(at.place, at.name, WAIT_SECONDS).await?;
            Ok(Box::new(consuming) as Box<dyn Consume>)
        })
    }
}

impl Publishing {
    /// Awaits replies until no more are open than this.
    async fn down_to(&mut self, open: usize) -> Result<()> {
        while self.unconfirmed > open {
            self.wire.expect("INSERTED").await?;
            self.unconfirmed -= 1;
        }
        Ok(())
    }
}

impl Publish for Publishing {
    fn all(&mut self, mut bodies: Bodies) -> Doing<'_, ()> {
        Box::pin(async move {
            let Load { batch, window, .. } = self.load;
            loop {
                let mut count = 0;
                while count < batch
                    && let Some(body) = bodies.next_body()
                {
                    self.wire.put(body);
                    count += 1;
                }
                self.wire.write().await?;
                self.unconfirmed += count;
                if count == 0 {
                    return self.down_to(0).await;
                }
                self.down_to(window.saturating_sub(batch)).await?;
            }
        })
    }

    fn one<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            self.send(body).await?;
            self.down_to(0).await
        })
    }

    fn send<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            self.down_to(self.load.window - 1).await?;
            self.wire.put(body);
            self.unconfirmed += 1;
            self.wire.write().await
        })
    }

    fn confirmed(&mut self) -> Doing<'_, ()> {
        Box::pin(self.down_to(0))
    }
}

impl Consuming {
    fn delete_held(&mut self) {
        for id in self.held.drain(..) {
            self.wire.say(&format!("delete {id}"));
            self.unconfirmed += 1;
        }
    }

    async fn deleted(&mut self) -> Result<()> {
        while self.unconfirmed > 0 {
            self.wire.expect("DELETED").await?;
            self.unconfirmed -= 1;
        }
        Ok(())
    }
}

impl Consume for Consuming {
    fn take<'a>(&'a mut self, visit: &'a mut Visit<'_>) -> Doing<'a, u64> {
        Box::pin(async move {
            self.delete_held();
            let mut wait = self.wait_seconds;
            for _ in 0..self.wanted {
                self.wire.say(&format!("reserve-with-timeout {wait}"));
                // Only the first may wait: those behind it take what is there besides.
                wait = 0;
            }
            self.wire.write().await?;
            self.deleted().await?;
            let mut count = 0;
            for _ in 0..self.wanted {
                match self.wire.reply().await? {
                    Reply::Reserved { id, body } => {
                        visit(&body);
                        self.held.push(id);
                        count += 1;
                    }
                    Reply::Word(said) if said == "TIMED_OUT" => (),
                    Reply::Word(said) => bail!("{said} instead of a job"),
                    Reply::Ok(_) => bail!("data instead of a job"),
                }
            }
            self.wanted = match count {
                all if all == self.wanted => (all * 2).min(TAKEN),
                some => some.max(1),
            };
            self.delete_held();
            self.wire.write().await?;
            Ok(count as u64)
        })
    }

    fn settled(&mut self) -> Doing<'_, ()> {
        Box::pin(self.deleted())
    }
}
