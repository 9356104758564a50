//! Every knob of the broker, with its unit, default and range; checked once.

use std::net::SocketAddr;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use siding_protocol::limits;

use crate::memory::{Allocated, available_bytes};
use crate::server::registry::ConnectionLimits;
use crate::server::session::SessionLimits;
use crate::shard::clock::TimeSource;
use crate::shard::recovery::Settings;
use crate::storage::Filling;
use crate::storage::bodies::Budgets;
use crate::storage::files::RECORD_BYTES_MAX;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bodies stay in memory no longer than it takes to consume them at once, unless more is asked for.
const TAIL_BYTES_MAX: u64 = 256 * MIB;
/// What is read back is read in order: more would not be used.
const READ_BYTES_MAX: u64 = 32 * MIB;
/// File descriptors kept for files and the admin server.
const DESCRIPTORS_RESERVED: u64 = 256;
/// What an entry may be larger than the frame it was asked in; of small records, half.
const ENTRY_OVERHEAD_BYTES: u64 = 64 * KIB;

/// The settings of one broker.
#[derive(Clone, Debug, Parser)]
#[command(name = "sidingd", version, about = "The Siding message broker")]
pub struct Config {
    /// Where everything durable lies; created if missing, used by one broker at a time.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./siding-data",
        env = "SIDING_DATA_DIR"
    )]
    pub data_dir: PathBuf,

    /// Address of the protocol. Anything but loopback needs --insecure-remote.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7433",
        env = "SIDING_LISTEN"
    )]
    pub listen: SocketAddr,

    /// Address of /livez and /readyz, or `off`.
    #[arg(
        long,
        value_name = "ADDR|off",
        default_value = "127.0.0.1:7434",
        env = "SIDING_ADMIN_LISTEN"
    )]
    pub admin_listen: AdminListen,

    /// Serve addresses other than loopback, although nothing is encrypted and nobody is asked who
    /// they are.
    #[arg(long)]
    pub insecure_remote: bool,

    /// Size of one journal file: 64KiB to 1GiB, a multiple of 4 KiB. The largest request is a
    /// quarter of it.
    #[arg(long, value_name = "BYTES", default_value = "64MiB")]
    pub journal_file_bytes: Bytes,

    /// A snapshot is written, and the journal cut, after so much journal: 64KiB to 64GiB.
    #[arg(long, value_name = "BYTES", default_value = "256MiB")]
    pub checkpoint_bytes: Bytes,

    /// What was confirmed as written is synced within so many ms: 1 to 1000.
    #[arg(long, value_name = "MS", default_value_t = 50)]
    pub flush_interval_ms: u64,

    /// Memory for the whole broker: 64MiB to 1TiB. Default: half of what the machine, or the cgroup, has.
    /// Bodies get their share of it. From 70 % on less is handed over at once, and from 85 % on, what the
    /// next checkpoint takes included, publishing is refused as busy; consumers go on.
    #[arg(long, value_name = "BYTES")]
    pub memory_budget: Option<Bytes>,

    /// Memory for fresh message bodies: 0 to 64GiB. Default: half of the memory budget, at most 256MiB.
    #[arg(long, value_name = "BYTES")]
    pub tail_bytes: Option<Bytes>,

    /// Memory for message bodies read back from disk: 1MiB to 64GiB. Default: an eighth of the memory
    /// budget, at most 32MiB.
    #[arg(long, value_name = "BYTES")]
    pub read_bytes: Option<Bytes>,

    /// Largest message body: 1KiB to 8MiB.
    #[arg(long, value_name = "BYTES", default_value = "1MiB")]
    pub max_body_bytes: Bytes,

    /// Requests of one connection that are not answered yet: 64KiB to 64MiB.
    #[arg(long, value_name = "BYTES", default_value = "8MiB")]
    pub max_in_flight_bytes: Bytes,

    /// Requests of all connections that wait to be logged: 64KiB to 1GiB.
    #[arg(long, value_name = "BYTES", default_value = "8MiB")]
    pub max_waiting_bytes: Bytes,

    /// Connections at once: 1 to 1000000, and never more than the limit of open files less 256.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub max_connections: u64,

    /// Connections at once from one address: 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub max_connections_per_ip: u64,

    /// Connections at once that have not said hello yet: 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_connections_before_hello: u64,

    /// How much of the memory budget is used up, as the allocator of the program knows it. `None`: nobody
    /// knows, and nothing but bodies is held to the budget.
    #[arg(skip)]
    pub allocated: Option<Allocated>,

    /// Where time comes from; only tests change it.
    #[arg(skip)]
    pub time: TimeSource,
}

/// A size in bytes, written as a number with an optional KiB, MiB or GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// It is not a whole number.
    #[error("a size is a whole number of bytes, or of KiB, MiB or GiB: {0}")]
    Number(#[from] ParseIntError),
    /// It is beyond all sizes.
    #[error("a size this large cannot be meant")]
    TooLarge,
}

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Self, BytesError> {
        let units = [("KiB", KIB), ("MiB", MIB), ("GiB", GIB), ("", 1)];
        let unit = |(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, unit));
        let (number, unit) = units.into_iter().find_map(unit).unwrap_or((text, 1));
        let number: u64 = number.trim().parse()?;
        number
            .checked_mul(unit)
            .map(Self)
            .ok_or(BytesError::TooLarge)
    }
}

/// Where the admin server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl FromStr for AdminListen {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            Ok(Self::Off)
        } else {
            text.parse().map(Self::At)
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing protects a broker on this address yet.
    #[error(
        "{address} is not a loopback address, and connections are neither encrypted nor \
         authenticated: listen on 127.0.0.1, or say --insecure-remote"
    )]
    Remote {
        /// As configured.
        address: SocketAddr,
    },
    /// A number out of its range.
    #[error("--{flag} = {value}: must be {min} to {max}")]
    OutOfRange {
        /// Which knob.
        flag: &'static str,
        /// As configured.
        value: u64,
        /// Lowest allowed.
        min: u64,
        /// Highest allowed.
        max: u64,
    },
}

impl Config {
    /// For a broker inside another program: loopback, ports chosen by the system, no admin server,
    /// everything else at its default.
    pub fn embedded(data_dir: impl Into<PathBuf>) -> Self {
        let defaults = Self::try_parse_from(["sidingd"]).expect("the defaults are valid");
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: AdminListen::Off,
            ..defaults
        }
    }

    /// Checks every knob.
    ///
    /// # Errors
    /// The first that is wrong, with its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let admin = match self.admin_listen {
            AdminListen::Off => None,
            AdminListen::At(address) => Some(address),
        };
        let mut addresses = [Some(self.listen), admin].into_iter().flatten();
        let remote = addresses.find(|address| !address.ip().is_loopback());
        if let Some(address) = remote.filter(|_| !self.insecure_remote) {
            return Err(ConfigError::Remote { address });
        }
        for (flag, value, min, max) in [
            (
                "journal-file-bytes",
                self.journal_file_bytes.0,
                64 * KIB,
                GIB,
            ),
            (
                "checkpoint-bytes",
                self.checkpoint_bytes.0,
                64 * KIB,
                64 * GIB,
            ),
            ("flush-interval-ms", self.flush_interval_ms, 1, 1_000),
            ("memory-budget", self.memory_bytes(), 64 * MIB, 1 << 40),
            ("tail-bytes", self.budgets().tail_bytes, 0, 64 * GIB),
            ("read-bytes", self.budgets().read_bytes, MIB, 64 * GIB),
            (
                "max-body-bytes",
                self.max_body_bytes.0,
                KIB,
                limits::BODY_BYTES_CEILING as u64,
            ),
            (
                "max-in-flight-bytes",
                self.max_in_flight_bytes.0,
                64 * KIB,
                64 * MIB,
            ),
            ("max-waiting-bytes", self.max_waiting_bytes.0, 64 * KIB, GIB),
            ("max-connections", self.max_connections, 1, 1_000_000),
            (
                "max-connections-per-ip",
                self.max_connections_per_ip,
                1,
                1_000_000,
            ),
            (
                "max-connections-before-hello",
                self.max_connections_before_hello,
                1,
                1_000_000,
            ),
        ] {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::OutOfRange {
                    flag,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }

    /// Of the shard.
    pub fn shard_settings(&self) -> Settings {
        Settings {
            journal_file_bytes: self.journal_file_bytes.0,
            filling: Filling::Ahead,
            budgets: self.budgets(),
        }
    }

    /// What bodies get of the memory.
    pub fn budgets(&self) -> Budgets {
        let budget = self.memory_bytes();
        let share = |said: Option<Bytes>, part: u64, most: u64| {
            said.map_or((budget / part).min(most), |bytes| bytes.0)
        };
        Budgets {
            tail_bytes: share(self.tail_bytes, 2, TAIL_BYTES_MAX),
            read_bytes: share(self.read_bytes, 8, READ_BYTES_MAX),
        }
    }

    /// Memory for the whole broker, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let half = || (available_bytes() / 2).max(64 * MIB);
        self.memory_budget.map_or_else(half, |bytes| bytes.0)
    }

    /// What each connection is held to. A request must fit a record, so a small journal file makes
    /// frames and bodies smaller.
    pub fn session_limits(&self) -> SessionLimits {
        let record_bytes_max = (self.journal_file_bytes.0 / 4).min(RECORD_BYTES_MAX);
        let frame_bytes_max = record_bytes_max - ENTRY_OVERHEAD_BYTES.min(record_bytes_max / 2);
        let frame_bytes_max = to_usize(frame_bytes_max).min(limits::FRAME_BYTES_MAX);
        SessionLimits {
            frame_bytes_max,
            body_bytes_max: to_usize(self.max_body_bytes.0).min(frame_bytes_max),
            in_flight_bytes_max: to_usize(self.max_in_flight_bytes.0),
        }
    }

    /// How many connections there may be; `descriptors`: the limit of open files.
    pub fn connection_limits(&self, descriptors: u64) -> ConnectionLimits {
        let most = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
        ConnectionLimits {
            total: to_usize(self.max_connections.min(most)),
            per_ip: to_usize(self.max_connections_per_ip),
            unwelcome: to_usize(self.max_connections_before_hello),
        }
    }

    /// Requests of all connections that wait to be logged, bytes.
    pub fn waiting_bytes_max(&self) -> usize {
        to_usize(self.max_waiting_bytes.0)
    }
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(flags: &[&str]) -> Config {
        let flags = std::iter::once("sidingd").chain(flags.iter().copied());
        Config::try_parse_from(flags).expect("valid flags")
    }

    #[test]
    fn the_defaults_are_valid_and_loopback() {
        let config = parsed(&[]);
        config.check().expect("valid");
        assert!(config.listen.ip().is_loopback());
        assert_eq!(config.shard_settings().journal_file_bytes, 64 << 20);
    }

    #[test]
    fn an_address_that_others_can_reach_is_refused_unless_insecure_remote_is_said() {
        for flags in [
            ["--listen", "0.0.0.0:7433"],
            ["--admin-listen", "[::]:7434"],
        ] {
            assert!(matches!(
                parsed(&flags).check(),
                Err(ConfigError::Remote { .. })
            ));
            let [flag, address] = flags;
            parsed(&[flag, address, "--insecure-remote"])
                .check()
                .expect("said so");
        }
        parsed(&["--listen", "[::1]:0", "--admin-listen", "off"])
            .check()
            .expect("loopback");
    }

    #[test]
    fn bodies_get_their_share_of_the_memory_unless_more_or_less_is_said() {
        let budgets = |flags: &[&str]| {
            let Budgets {
                tail_bytes,
                read_bytes,
            } = parsed(flags).budgets();
            (tail_bytes / MIB, read_bytes / MIB)
        };
        assert_eq!(budgets(&["--memory-budget", "128MiB"]), (64, 16));
        assert_eq!(budgets(&["--memory-budget", "16GiB"]), (256, 32));
        let said = ["--memory-budget", "128MiB", "--tail-bytes", "1GiB"];
        assert_eq!(budgets(&said), (1_024, 16));
    }

    #[test]
    fn a_size_out_of_its_range_is_refused_with_the_range() {
        let config = parsed(&["--max-body-bytes", "9MiB"]);
        let error = config.check().expect_err("too large").to_string();
        assert_eq!(error, "--max-body-bytes = 9437184: must be 1024 to 8388608");
        assert_eq!("3 GiB".parse(), Ok(Bytes(3 << 30)));
        assert!("1.5MiB".parse::<Bytes>().is_err() && "-1".parse::<Bytes>().is_err());
    }

    #[test]
    fn every_number_is_valid_at_both_ends_of_its_range_and_not_beyond() {
        for (flag, min, max) in [
            ("journal-file-bytes", 64 * KIB, GIB),
            ("checkpoint-bytes", 64 * KIB, 64 * GIB),
            ("flush-interval-ms", 1, 1_000),
            ("memory-budget", 64 * MIB, 1 << 40),
            ("tail-bytes", 0, 64 * GIB),
            ("read-bytes", MIB, 64 * GIB),
            ("max-body-bytes", KIB, 8 * MIB),
            ("max-in-flight-bytes", 64 * KIB, 64 * MIB),
            ("max-waiting-bytes", 64 * KIB, GIB),
            ("max-connections", 1, 1_000_000),
            ("max-connections-per-ip", 1, 1_000_000),
            ("max-connections-before-hello", 1, 1_000_000),
        ] {
            let check = |value: u64| parsed(&[&format!("--{flag}"), &value.to_string()]).check();
            for within in [min, max] {
                check(within).unwrap_or_else(|error| panic!("{error}"));
            }
            for beyond in min.checked_sub(1).into_iter().chain([max + 1]) {
                let error = check(beyond).expect_err(flag).to_string();
                assert_eq!(
                    error,
                    format!("--{flag} = {beyond}: must be {min} to {max}")
                );
            }
        }
    }

    #[test]
    fn the_largest_frame_fits_a_record_of_the_smallest_journal_file() {
        let limits = parsed(&["--journal-file-bytes", "64KiB"]).session_limits();
        assert!(limits.frame_bytes_max <= (16 << 10) - 4096 && limits.body_bytes_max <= 16 << 10);
    }
}
