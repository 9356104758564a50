//! `siding quickstart`: real work through a real broker, on synced confirms, with a fault half-way.
//!
//! Producer → queue `urls` → workers, which publish each result to topic `results` in the same
//! transaction as the ack → subscription `results/file` writes a file, `results/hosts` counts. The
//! connection of one worker is cut while it holds deliveries. What is lost or double is computed
//! from the file.

mod accounting;
mod broker;
mod floor;
mod page;
mod readers;
mod workers;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use siding::wire::{DeliverySettings, QueueSettings, TopicSettings};
use siding::{Client, Start};

use self::accounting::Accounts;
use self::broker::Running;
use self::floor::Floor;
use crate::args::Global;
use crate::exit::{Exit, failure};
use crate::output::Output;
use crate::signals::Stop;

/// 8,926 URLs; `cli/data/README` says where they come from.
const URLS: &str = include_str!("../data/urls.txt");
/// A message that comes back needs no pause here: nothing is wrong with it.
const BACKOFF: Duration = Duration::from_millis(50);

const QUEUE: &str = "urls";
const TOPIC: &str = "results";
const TO_FILE: &str = "results/file";
const TO_HOSTS: &str = "results/hosts";

/// `siding quickstart`
#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Where the results and the broker's data go: a fresh directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// URLs to work on, one a line; default: 8,926 of web documentation.
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,
    /// Workers at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Leave the broker running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: QuickstartArgs) -> Result<Exit> {
    let mut stop = Stop::listen()?;
    let text = match &args.urls {
        None => URLS.to_owned(),
        Some(path) => read_urls(path)?,
    };
    let dir = fresh_dir(args.dir.as_deref())?;
    let data_dir = dir.join("siding-data");
    let broker = Running::start(data_dir.clone()).await?;
    let shown = (data_dir.display(), broker.url());
    eprintln!(
        "a broker with its data in {} listens at {}",
        shown.0, shown.1
    );
    let site = Site {
        file: dir.join("results.ndjson"),
        data_dir,
        url: broker.url(),
        workers: args.workers,
    };
    let ran = tokio::select! {
        ran = site.work(&text) => ran.map(Some),
        _ = stop.asked() => Ok(None),
    };
    let exit = match ran {
        Ok(Some(summary)) => tell(global, &summary).await,
        Ok(None) => Ok(Exit::Interrupted),
        Err(error) => Err(error),
    };
    if args.keep && matches!(exit, Ok(Exit::Ok)) {
        eprintln!(
            "the broker is still there: siding --url {} sub ls · Ctrl-C ends it",
            site.url
        );
        stop.asked().await;
    }
    broker.stop().await?;
    exit
}

fn read_urls(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)
        .map_err(|error| failure(Exit::Usage, format!("--urls {}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = good.filter(|byte| **byte == b'\n').count() + 1;
        let words = format!("--urls {}: line {line} is not UTF-8", path.display());
        failure(Exit::BadInput, words)
    })
}

/// The directory asked for if it is empty or not there; else a new one of our own.
fn fresh_dir(asked: Option<&Path>) -> Result<PathBuf> {
    let dir = match asked {
        Some(dir) => dir.to_owned(),
        None => (1..=u16::MAX)
            .map(|number| match number {
                1 => PathBuf::from("siding-quickstart"),
                _ => PathBuf::from(format!("siding-quickstart-{number}")),
            })
            .find(|dir| !dir.exists())
            .context("no free name for a directory")?,
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    if std::fs::read_dir(&dir)?.next().is_some() {
        let words = format!("{} is not empty", dir.display());
        return Err(failure(
            Exit::Usage,
            format!("{words} · remove it, or name another with --dir"),
        ));
    }
    Ok(dir)
}

/// Where the work takes place.
struct Site {
    file: PathBuf,
    data_dir: PathBuf,
    url: String,
    workers: u32,
}

/// What it came to.
struct Summary {
    urls: usize,
    hosts: BTreeMap<String, u64>,
    accounts: Accounts,
    redelivered: u64,
    publish_rate: f64,
    work_rate: f64,
    latency: readers::Quantiles,
    file: PathBuf,
    data_dir: PathBuf,
}

impl Site {
    /// Runs all stages until nothing is left anywhere, then does the books from the file.
    async fn work(&self, text: &str) -> Result<Summary> {
        let input = page::input_lines(text);
        let client = Client::connect(&self.url).await?;
        create(&client).await?;
        let floor = Floor::open(&input);
        let lines = input.iter().map(|line| (*line).to_owned()).collect();
        let mut stages = tokio::task::JoinSet::new();
        for _ in 0..self.workers {
            let worker = workers::run(self.url.clone(), floor.clone());
            stages.spawn(async { worker.await.map(|()| readers::Read::default()) });
        }
        stages.spawn(readers::to_file(
            self.url.clone(),
            self.file.clone(),
            floor.clone(),
        ));
        stages.spawn(readers::to_hosts(self.url.clone(), floor.clone()));
        let producer = tokio::spawn(workers::produce(client.clone(), lines, floor.clone()));
        let mut read = readers::Read::default();
        tokio::select! {
            quiet = floor.until_quiet(&client, producer) => quiet?,
            ended = stages.join_next() => {
                // Stages run until told to stop: one that ends has failed.
                ended.context("no stage runs")???;
            }
        }
        floor.close();
        while let Some(ended) = stages.join_next().await {
            read.add(ended??);
        }
        client.close().await;
        let file = File::open(&self.file)?;
        Ok(Summary {
            urls: input.len(),
            accounts: accounting::account(&input, BufReader::new(file))?,
            redelivered: floor.redelivered(),
            publish_rate: floor.publish_rate(),
            work_rate: floor.work_rate(),
            latency: read.quantiles(),
            hosts: read.hosts,
            file: self.file.clone(),
            data_dir: self.data_dir.clone(),
        })
    }
}

async fn create(client: &Client) -> Result<()> {
    let backoff_ms = vec![u64::try_from(BACKOFF.as_millis())?];
    let delivery = DeliverySettings {
        backoff_ms,
        ..DeliverySettings::default()
    };
    let settings = QueueSettings {
        delivery: Some(delivery.clone()),
        ..QueueSettings::default()
    };
    client.create_queue(QUEUE, settings).await?;
    client.create_topic(TOPIC, TopicSettings::default()).await?;
    for subscription in [TO_FILE, TO_HOSTS] {
        client
            .create_subscription(subscription, delivery.clone(), Start::Earliest)
            .await?;
    }
    Ok(())
}

async fn tell(global: &Global, summary: &Summary) -> Result<Exit> {
    let mut output = Output::new(global.output);
    output.record(&summary.record());
    output.flush().await?;
    let (file, data_dir) = (summary.file.display(), summary.data_dir.display());
    eprintln!("look at the results:       head -3 {file}");
    eprintln!("start a broker on them:    sidingd --data-dir {data_dir}");
    eprintln!("then, in another terminal: siding topic ls; siding sub ls");
    eprintln!("and work of your own:      seq 1 100 | siding publish jobs --create");
    eprintln!("                           siding work jobs -j 4 --drain -- echo job {{}}");
    let Accounts {
        lost,
        duplicates,
        foreign,
    } = summary.accounts;
    if lost + duplicates + foreign > 0 {
        let words = format!("{lost} lost, {duplicates} double, {foreign} foreign lines in {file}");
        return Err(failure(Exit::PartlyDone, words));
    }
    Ok(Exit::Ok)
}

impl Summary {
    fn record(&self) -> Vec<(&'static str, Value)> {
        let top = accounting::top(&self.hosts);
        vec![
            ("urls", self.urls.into()),
            ("hosts", self.hosts.len().into()),
            ("top_host", top.map(|(host, _)| host).into()),
            ("top_host_count", top.map_or(0, |(_, count)| count).into()),
            ("lost", self.accounts.lost.into()),
            ("duplicates", self.accounts.duplicates.into()),
            ("redelivered", self.redelivered.into()),
            ("publish_rate", self.publish_rate.round().into()),
            ("work_rate", self.work_rate.round().into()),
            ("p50_ms", self.latency.p50_ms.into()),
            ("p99_ms", self.latency.p99_ms.into()),
            ("file", self.file.display().to_string().into()),
            ("data_dir", self.data_dir.display().to_string().into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_in_use_is_refused_with_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        assert!(fresh_dir(Some(dir.path())).is_ok());
        std::fs::write(dir.path().join("mine"), "precious").unwrap();
        let error = fresh_dir(Some(dir.path())).unwrap_err();
        assert!(error.to_string().contains("--dir"), "{error}");
    }

    #[test]
    fn the_list_in_the_binary_is_the_one_the_answer_is_known_of() {
        let input = page::input_lines(URLS);
        assert_eq!(input.len(), 8926);
        let mut hosts = BTreeMap::new();
        for (position, line) in (0..).zip(&input) {
            let line = page::result_line(position, line);
            let host = accounting::ResultLine::parse(line.as_bytes()).unwrap().host;
            *hosts
                .entry(host.expect("every line is a URL with a host"))
                .or_insert(0) += 1;
        }
        assert_eq!(hosts.len(), 66);
        assert_eq!(
            accounting::top(&hosts),
            Some(("developer.mozilla.org", 3983))
        );
    }
}
