//! Every maximum of the wire. Out of range is refused with the range, never clamped.
//!
//! Sizes in bytes, durations in milliseconds. What a broker enforces now it says in `Welcome`.

/// One frame, its length prefix not counted.
pub const FRAME_BYTES_MAX: usize = 17 << 20;
/// One frame before `Welcome`.
pub const FRAME_BYTES_BEFORE_WELCOME_MAX: usize = 4 << 10;
/// All bytes a connection may send before `Welcome`.
pub const BYTES_BEFORE_WELCOME_MAX: usize = 16 << 10;
/// One message body, by default.
pub const BODY_BYTES_DEFAULT: usize = 1 << 20;
/// One message body, whatever is configured.
pub const BODY_BYTES_CEILING: usize = 8 << 20;
/// Everything of one request that is not a run: what is decoded into structs.
pub const REQUEST_HEAD_BYTES_MAX: usize = 2 << 20;
/// Messages of one run.
pub const RUN_MESSAGES_MAX: u32 = 65_536;
/// One run, and all operations of a transaction together.
pub const TRANSACTION_BYTES_MAX: usize = 16 << 20;
/// Operations of one transaction.
pub const TRANSACTION_OPERATIONS_MAX: usize = 1_000;
/// Key and routing key.
pub const KEY_BYTES_MAX: usize = 256;
/// Deduplication id.
pub const DEDUP_ID_BYTES_MAX: usize = 128;
/// Headers of one message.
pub const HEADERS_MAX: usize = 32;
/// One header's name.
pub const HEADER_NAME_BYTES_MAX: usize = 128;
/// One header's value, its type byte counted.
pub const HEADER_VALUE_BYTES_MAX: usize = 4 << 10;
/// All headers of one message.
pub const HEADERS_BYTES_MAX: usize = 16 << 10;
/// All fields from 64 on of one message, their keys counted: what is carried unread.
pub const CARRIED_BYTES_MAX: usize = 16 << 10;
/// A queue, topic or subscription name.
pub const NAME_BYTES_MAX: usize = 128;
/// `Hello.holder`.
pub const HOLDER_BYTES_MAX: usize = 64;
/// `Hello.client`.
pub const CLIENT_BYTES_MAX: usize = 128;
/// Priority; 9 goes first.
pub const PRIORITY_MAX: u32 = 9;
/// Priority of a message that names none.
pub const PRIORITY_DEFAULT: u32 = 4;
/// Longest delay, ttl and backoff step: ten years.
pub const DELAY_MS_MAX: u64 = 10 * 366 * 86_400_000;
/// Shortest visibility timeout.
pub const VISIBILITY_MS_MIN: u64 = 1_000;
/// Longest visibility timeout: twelve hours.
pub const VISIBILITY_MS_MAX: u64 = 12 * 3_600_000;
/// Visibility timeout of a subscription that names none.
pub const VISIBILITY_MS_DEFAULT: u64 = 30_000;
/// Most attempts that can be asked for.
pub const MAX_ATTEMPTS_MAX: u32 = 1_000;
/// Attempts of a subscription that names none.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 10;
/// Backoff steps of one subscription.
pub const BACKOFF_STEPS_MAX: usize = 16;
/// Backoff of a subscription that names none; the last step repeats.
pub const BACKOFF_MS_DEFAULT: [u64; 9] = [
    1_000, 5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 10_800_000, 21_600_000,
];
/// Most dead letters that can be asked for.
pub const MAX_DEAD_MAX: u64 = 1_000_000;
/// Dead letters of a subscription that names no maximum.
pub const MAX_DEAD_DEFAULT: u64 = 100_000;
/// Most `max_messages`, and its default: no limit in practice.
pub const MAX_MESSAGES_MAX: u64 = 1 << 40;
/// Most `max_bytes` and `retention_bytes`.
pub const MAX_BYTES_MAX: u64 = 1 << 50;
/// `max_bytes` of a queue that names none: 1 GiB.
pub const MAX_BYTES_DEFAULT: u64 = 1 << 30;
/// `retention_bytes` of a topic that names none: 10 GiB.
pub const RETENTION_BYTES_DEFAULT: u64 = 10 << 30;
/// Ranges of one settle.
pub const SETTLE_RANGES_MAX: usize = 10_000;
/// Messages of one settle: what one consumer can hold.
pub const SETTLE_MESSAGES_MAX: u64 = 65_535;
/// `Settle.reason`.
pub const REASON_BYTES_MAX: usize = 1 << 10;
/// Messages in a consumer's window.
pub const CREDIT_MESSAGES_MAX: u32 = 65_535;
/// Bytes in a consumer's window, and in one `Receive`.
pub const CREDIT_BYTES_MAX: u64 = 8 << 20;
/// Messages of one `Receive`.
pub const RECEIVE_MESSAGES_MAX: u32 = 1_000;
/// Longest `Receive.wait_ms`.
pub const RECEIVE_WAIT_MS_MAX: u64 = 60_000;
/// Names of one `List`, messages of one `Browse`.
pub const PAGE_MAX: u32 = 1_000;
/// Unanswered publish requests of one producer, and answers remembered for its retries.
pub const PRODUCER_REQUESTS_MAX: u32 = 1_024;
/// Producers of one shard; past it the oldest idle one is forgotten.
pub const PRODUCERS_MAX: usize = 1_000;
/// A producer idle for so long is forgotten: 24 hours.
pub const PRODUCER_IDLE_MS_MAX: u64 = 86_400_000;
/// Queues and topics together, and subscriptions of one topic.
pub const NAMES_MAX: usize = 10_000;
/// Consumers of one connection.
pub const CONSUMERS_PER_CONNECTION_MAX: usize = 1_024;
/// Waiting `Receive`s of one connection.
pub const RECEIVES_PER_CONNECTION_MAX: usize = 1_024;
/// Publish bytes of one connection that are not answered yet.
pub const IN_FLIGHT_BYTES_MAX: usize = 8 << 20;
/// The windows of all consumers of one connection, in bytes: so much can be on its way to it.
pub const CREDIT_BYTES_PER_CONNECTION_MAX: u64 = 64 << 20;
/// Bytes waiting to be sent on one connection.
pub const OUTBOUND_BYTES_MAX: usize = 8 << 20;
/// Messages of one extent.
pub const EXTENT_MESSAGES_MAX: u32 = 1_024;
/// Bytes of one extent, unless one larger message fills it alone.
pub const EXTENT_BYTES_MAX: u32 = 64 << 10;
/// A filter's text.
pub const FILTER_BYTES_MAX: usize = 4 << 10;
/// How deep a filter nests: `not` and parentheses.
pub const FILTER_DEPTH_MAX: usize = 16;
/// Words that a filter compares with.
pub const FILTER_WORDS_MAX: usize = 256;
/// `Settle.checkpoint`.
pub const CHECKPOINT_BYTES_MAX: usize = 64 << 10;
/// `Settle.result`.
pub const RESULT_BYTES_MAX: usize = 256 << 10;
/// `Settle.note`.
pub const NOTE_BYTES_MAX: usize = 1 << 10;
/// `Settle.progress`, percent.
pub const PROGRESS_MAX: u32 = 100;
/// `Receive.request_id`.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// A `Receive.request_id` is remembered for so long.
pub const REQUEST_ID_MS: u64 = 60_000;
/// Longest `Await.wait_ms`.
pub const AWAIT_WAIT_MS_MAX: u64 = 60_000;
/// A message handed over so often without having been begun is a dead letter.
pub const ACQUIRES_MAX: u32 = 100;
/// Shortest duration of a setting in days and hours: one second.
pub const SECOND_MS: u64 = 1_000;
/// Dead letters of a subscription that names no maximum in bytes: 1 GiB.
pub const MAX_DEAD_BYTES_DEFAULT: u64 = 1 << 30;
/// Dead letters redriven a second, at most.
pub const REDRIVE_RATE_MAX: u64 = 1_000_000;
/// How long dead letters are kept by default: 14 days.
pub const DEAD_RETENTION_MS_DEFAULT: u64 = 14 * 86_400_000;
/// Longest `done_retention_ms`: 30 days.
pub const DONE_RETENTION_MS_MAX: u64 = 30 * 86_400_000;
/// `done_retention_ms` of a subscription that names none: an hour.
pub const DONE_RETENTION_MS_DEFAULT: u64 = 3_600_000;
/// Longest `dedup_window_ms`: 7 days.
pub const DEDUP_WINDOW_MS_MAX: u64 = 7 * 86_400_000;
/// `dedup_window_ms` of a name that says nothing: 5 minutes.
pub const DEDUP_WINDOW_MS_DEFAULT: u64 = 300_000;
/// Most `max_dedup_ids`.
pub const DEDUP_IDS_MAX: u64 = 10_000_000;
/// `max_dedup_ids` of a name that says nothing.
pub const DEDUP_IDS_DEFAULT: u64 = 1_000_000;
/// `retention_ms` of a topic that names none: 7 days.
pub const RETENTION_MS_DEFAULT: u64 = 7 * 86_400_000;
/// Schedules of a shard.
pub const SCHEDULES_MAX: usize = 10_000;
/// Shortest `ScheduleSettings.every_ms`.
pub const EVERY_MS_MIN: u64 = 1_000;
/// `ScheduleSettings.catch_up_ms` where none is given: a minute.
pub const CATCH_UP_MS_DEFAULT: u64 = 60_000;
/// `Cron.expression` and `Cron.zone`, each.
pub const CRON_BYTES_MAX: usize = 128;
/// Missed firings that a schedule lists.
pub const MISSED_FIRINGS_MAX: usize = 100;
/// Waiting `Await`s of one connection.
pub const AWAITS_PER_CONNECTION_MAX: usize = 1_024;
/// Purges, redrives, drops, browses and explanations of one connection for which bodies are being read.
pub const LOOKS_PER_CONNECTION_MAX: usize = 16;
/// Words of the last nacks of the messages of one subscription, counted for each: 64 MiB. Past it they
/// are not kept.
pub const NACK_WORDS_BYTES_MAX: u64 = 64 << 20;
/// Checkpoints, results, notes of the messages of one subscription that have not ended: 64 MiB.
pub const JOB_BYTES_MAX: u64 = 64 << 20;
/// Records of ended messages that one subscription keeps; past it the oldest goes.
pub const DONE_RECORDS_MAX: u64 = 100_000;
/// Bytes of what such records carry; past it the oldest goes: 64 MiB.
pub const DONE_BYTES_MAX: u64 = 64 << 20;
/// Checkpoints in one delivery, one more allowed: 4 MiB.
pub const DELIVERED_CHECKPOINT_BYTES_MAX: usize = 4 << 20;
/// The message of a schedule: 256 KiB.
pub const SCHEDULE_RUN_BYTES_MAX: usize = 256 << 10;
/// The messages of all schedules of a shard: 64 MiB.
pub const SCHEDULES_BYTES_MAX: u64 = 64 << 20;
