//! `PostgreSQL`: a table as a queue. Many rows an insert; consumers skip what others have locked, and delete
//! what they take in the transaction that hands it over.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

use super::underway::Underway;
use crate::bodies::Bodies;
use crate::peer::{At, Consume, Doing, Load, Peer, Publish, Row, Visit};
use crate::server::{Place, find};
use crate::task::Kind;

/// Rows that one statement takes out.
const TAKEN: i64 = 2_000;
/// An empty table is looked at again after this, unless a publisher tells of a message before.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Inserts of one connection under way: one is written to the socket while another is worked on.
const INSERTS: usize = 2;
/// Single messages that wait for the insert before.
const WAITING: usize = 4_096;
/// What people who run it for throughput on such a machine set.
const SETTINGS: [&str; 10] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=1GB",
    "wal_buffers=64MB",
    "max_wal_size=8GB",
    "min_wal_size=2GB",
    "checkpoint_timeout=15min",
    "jit=off",
    "synchronous_commit=on",
];

pub(crate) struct Postgres;

struct Publishing {
    client: Arc<Client>,
    /// Takes any number of bodies.
    insert: Statement,
    table: String,
    rows: usize,
    single: Option<Single>,
}

/// Single messages: those that come while an insert is under way make up the next.
struct Single {
    bodies: mpsc::Sender<Vec<u8>>,
    writing: JoinHandle<Result<()>>,
}

struct Consuming {
    client: Client,
    delete: Statement,
    /// A publisher told of a message.
    told: Arc<Notify>,
}

impl Postgres {
    /// A connection, and what tells when another says `NOTIFY`.
    async fn connect(place: &Place) -> Result<(Client, Arc<Notify>)> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(place.port).user("postgres");
        config.dbname("postgres");
        let (client, mut connection) = config.connect(NoTls).await?;
        let told = Arc::new(Notify::new());
        let tell = Arc::clone(&told);
        tokio::spawn(async move {
            let next = |context: &mut std::task::Context<'_>| connection.poll_message(context);
            let mut next = next;
            while let Some(Ok(message)) = std::future::poll_fn(&mut next).await {
                if matches!(message, AsyncMessage::Notification(_)) {
                    tell.notify_one();
                }
            }
        });
        Ok((client, told))
    }

    fn data(place: &Place) -> PathBuf {
        place.dir().join("data")
    }
}

/// As another user, if this one is root: it refuses to serve for root.
fn as_user(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    command.arg(program);
    command
}

impl Peer for Postgres {
    fn row(&self) -> Row {
        Row {
            family: "postgres",
            name: "postgres",
            durability: "synced before confirm",
            install: "apt-get install postgresql",
        }
    }

    fn program(&self) -> Option<PathBuf> {
        let installed = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let programs = installed
            .flatten()
            .map(|dir| dir.path().join("bin/postgres"));
        let there = programs.filter(|path| path.is_file());
        there.max().or_else(|| find("postgres"))
    }

    fn has(&self, kind: Kind) -> bool {
        !matches!(kind, Kind::FanOut(_) | Kind::Shared)
    }

    fn prepare(&self, place: &Place) -> Result<()> {
        let data = Self::data(place);
        std::fs::create_dir(&data)?;
        if rustix::process::geteuid().is_root() {
            std::fs::set_permissions(place.dir(), Permissions::from_mode(0o755))?;
            let given = Command::new("chown").arg("postgres:").arg(&data).status()?;
            ensure!(given.success(), "chown: {given}");
        }
        let program = self.program().context("not installed")?;
        let mut initdb = as_user(&program.with_file_name("initdb"));
        initdb
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "--auth=trust"]);
        initdb.args(["--no-sync", "--locale=C", "--encoding=UTF8"]);
        let output = initdb.current_dir(place.dir()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "initdb: {}", said.trim());
        Ok(())
    }

    fn command(&self, place: &Place) -> Result<Command> {
        let program = self.program().context("not installed")?;
        let mut command = as_user(&program);
        command.arg("-D").arg(Self::data(place));
        command.args(["-p", &place.port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        Ok(command)
    }

    fn ready<'a>(&'a self, place: &'a Place) -> Doing<'a, ()> {
        Box::pin(async move {
            Self::connect(place)
                .await?
                .0
                .batch_execute("SELECT 1")
                .await?;
            Ok(())
        })
    }

    fn create<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let name = at.name;
            let (client, _) = Self::connect(at.place).await?;
            let create = format!(
                "CREATE TABLE {name} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                 body bytea NOT NULL)"
            );
            Ok(client.batch_execute(&create).await?)
        })
    }

    fn remove<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let name = at.name;
            let (client, _) = Self::connect(at.place).await?;
            Ok(client.batch_execute(&format!("DROP TABLE {name}")).await?)
        })
    }

    fn left<'a>(&'a self, at: At<'a>) -> Doing<'a, u64> {
        Box::pin(async move {
            let name = at.name;
            let (client, _) = Self::connect(at.place).await?;
            let count = format!("SELECT count(*) FROM {name}");
            let row = client.query_one(&count, &[]).await?;
            Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
        })
    }

    fn publisher<'a>(&'a self, at: At<'a>, load: Load) -> Doing<'a, Box<dyn Publish>> {
        Box::pin(async move {
            let name = at.name;
            let (client, _) = Self::connect(at.place).await?;
            let insert = format!("INSERT INTO {name} (body) SELECT unnest($1::bytea[])");
            let publishing = Publishing {
                insert: client.prepare(&insert).await?,
                client: Arc::new(client),
                table: at.name.to_owned(),
                // All of the window but what is under way already.
                rows: (load.window / INSERTS).max(1),
                single: None,
            };
            Ok(Box::new(publishing) as Box<dyn Publish>)
        })
    }

    fn consumer<'a>(&'a self, at: At<'a>, _: Option<usize>) -> Doing<'a, Box<dyn Consume>> {
        Box::pin(async move {
            let name = at.name;
            let (client, told) = Self::connect(at.place).await?;
            client.batch_execute(&format!("LISTEN {name}")).await?;
            let delete = format!(
                "DELETE FROM {name} WHERE id = ANY(ARRAY(SELECT id FROM {name} ORDER BY id \
                 LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING body"
            );
            let consuming = Consuming {
                delete: client.prepare(&delete).await?,
                client,
                told,
            };
            Ok(Box::new(consuming) as Box<dyn Consume>)
        })
    }
}

impl Publishing {
    /// Starts what writes single messages and tells the consumers of them.
    async fn single(&self) -> Result<Single> {
        let insert = format!(
            "WITH inserted AS (INSERT INTO {0} (body) SELECT unnest($1::bytea[])) \
             SELECT pg_notify('{0}', '')",
            self.table
        );
        let insert = self.client.prepare(&insert).await?;
        let client = Arc::clone(&self.client);
        let (bodies, mut come) = mpsc::channel::<Vec<u8>>(WAITING);
        let writing = tokio::spawn(async move {
            let mut rows = Vec::new();
            while come.recv_many(&mut rows, WAITING).await > 0 {
                client.query(&insert, &[&rows]).await?;
                rows.clear();
            }
            Ok(())
        });
        Ok(Single { bodies, writing })
    }
}

impl Publish for Publishing {
    fn all(&mut self, mut bodies: Bodies) -> Doing<'_, ()> {
        Box::pin(async move {
            let mut underway = Underway::new(INSERTS);
            loop {
                let mut rows = Vec::with_capacity(self.rows);
                while rows.len() < self.rows
                    && let Some(body) = bodies.next_body()
                {
                    rows.push(body.to_vec());
                }
                if rows.is_empty() {
                    return underway.ended().await;
                }
                let (client, insert) = (Arc::clone(&self.client), self.insert.clone());
                let insert = async move {
                    let inserted = client.execute(&insert, &[&rows]).await?;
                    ensure!(inserted == rows.len() as u64, "{inserted} rows inserted");
                    Ok(())
                };
                underway.add(insert).await?;
            }
        })
    }

    fn one<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            self.client.execute(&self.insert, &[&vec![body]]).await?;
            Ok(())
        })
    }

    fn send<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            if self.single.is_none() {
                self.single = Some(self.single().await?);
            }
            let single = self.single.as_ref().context("just made")?;
            let sent = single.bodies.send(body.to_vec()).await;
            sent.ok().context("an insert failed")
        })
    }

    fn confirmed(&mut self) -> Doing<'_, ()> {
        Box::pin(async move {
            let Some(Single { bodies, writing }) = self.single.take() else {
                return Ok(());
            };
            drop(bodies);
            writing.await?
        })
    }
}

impl Consume for Consuming {
    fn take<'a>(&'a mut self, visit: &'a mut Visit<'_>) -> Doing<'a, u64> {
        Box::pin(async move {
            loop {
                let told = self.told.notified();
                let rows = self.client.query(&self.delete, &[&TAKEN]).await?;
                for row in &rows {
                    visit(row.try_get(0)?);
                }
                if !rows.is_empty() {
                    return Ok(rows.len() as u64);
                }
                tokio::time::timeout(LOOK_AGAIN, told).await.ok();
            }
        })
    }

    /// The rows came with the answer to the commit.
    fn settled(&mut self) -> Doing<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
