//! Sizes that the formats and the service fix, and those that we put on what comes from outside.

use std::time::Duration;

/// A message of more bytes of JSON goes to a blob (docs/storage-layout.md, Large payloads).
pub(crate) const MESSAGE_BYTES_MAX: usize = 45 * 1024;
/// The most that a queue takes, as the text of XML.
pub(crate) const QUEUE_TEXT_BYTES_MAX: usize = 64 * 1024;
/// A column of more UTF-16 units goes to a blob (docs/storage-layout.md, Large payloads).
pub(crate) const COLUMN_UNITS_MAX: usize = 30 * 1024;
/// The largest compressed payload that is read.
pub(crate) const BLOB_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The largest payload that a blob may expand to: a turn has it in memory some ten times, and a worker may have 4 GB.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The largest JSON of tags that is read: many small ones take ten times their text in memory, and no row holds nearly so much.
pub(crate) const TAGS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A hub has one to sixteen partitions.
pub(crate) const PARTITIONS_MAX: u32 = 16;
/// Longest instance id in UTF-16 units after escaping: the key limit of the table service.
pub(crate) const KEY_UNITS_MAX: usize = 512;
/// Longest name of an orchestrator, and longest version, in UTF-16 units: the history row of a child holds those of its parent in
/// one column that .NET never off-loads, as JSON, where a unit may take six.
pub(crate) const NAME_UNITS_MAX: usize = 2 * 1024;
/// The largest text of a user that is written, as it stands in the JSON of a message: whatever it says, that message is a blob that
/// can be read, compressed and as text, with tags beside it.
pub(crate) const TEXT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 16 * 1024 * 1024;
/// The longest custom status in UTF-16 units of JSON: 16 KiB, as in Durable Functions.
pub(crate) const CUSTOM_STATUS_UNITS_MAX: usize = 8 * 1024;
/// Generations that one turn may run through before it must commit.
pub(crate) const GENERATIONS_PER_TURN_MAX: u32 = 20;
/// Events that continue-as-new carries over in one turn of the next generation, and their bytes as a transaction counts them: such
/// a turn must fit one transaction, the first beside the start.
pub(crate) const CARRIED_ROWS_MAX: usize = 90;
pub(crate) const CARRIED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Identities of applied messages, and of superseded executions, that the sentinel remembers across continue-as-new.
pub(crate) const REMEMBERED_MESSAGES_MAX: usize = 400;
pub(crate) const REMEMBERED_EXECUTIONS_MAX: usize = 20;
/// After so long every worker has read that an orchestrator is drained.
pub(crate) const DRAIN_AFTER: Duration = Duration::from_secs(30);
