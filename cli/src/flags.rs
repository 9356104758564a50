//! What the wire calls a field, and how it is typed: a refusal names the flag and speaks its units.

use siding::Refusal;

use crate::units;

/// What a field is counted in.
#[derive(Clone, Copy)]
enum Unit {
    Ms,
    Bytes,
    Number,
}

/// Field, flag and unit.
const FLAGS: &[(&str, &str, Unit)] = &[
    ("ack_on_delivery", "--ack on-delivery", Unit::Number),
    ("age_step_ms", "--age-step", Unit::Ms),
    ("backoff_ms", "--backoff", Unit::Ms),
    ("catch_up_ms", "--catch-up", Unit::Ms),
    ("checkpoint", "--checkpoint", Unit::Bytes),
    ("credit_messages", "--window", Unit::Number),
    ("dead_letter_to", "--dead-letter-to", Unit::Number),
    ("dead_retention_ms", "--dead-retention", Unit::Ms),
    ("dedup_id", "--dedup", Unit::Bytes),
    ("dedup_window_ms", "--dedup-window", Unit::Ms),
    ("delay_ms", "--delay", Unit::Ms),
    ("deliver_at_ms", "--at", Unit::Ms),
    ("done_retention_ms", "--done-retention", Unit::Ms),
    ("dry_run", "--dry-run", Unit::Number),
    ("ephemeral", "--ephemeral", Unit::Number),
    ("every_ms", "--every", Unit::Ms),
    ("expression", "--cron", Unit::Bytes),
    ("filter", "--filter", Unit::Bytes),
    ("forward_to", "--forward-to", Unit::Number),
    ("headers", "--header", Unit::Number),
    ("headers.bytes", "--header", Unit::Bytes),
    ("headers.name", "--header", Unit::Bytes),
    ("headers.value", "--header", Unit::Bytes),
    ("key", "--key", Unit::Bytes),
    ("level", "--level", Unit::Number),
    ("max_attempts", "--max-attempts", Unit::Number),
    ("max_bytes", "--max-bytes", Unit::Bytes),
    ("max_dead", "--max-dead", Unit::Number),
    ("max_dead_bytes", "--max-dead-bytes", Unit::Bytes),
    ("max_dedup_ids", "--max-dedup-ids", Unit::Number),
    ("max_hold_ms", "--max-hold", Unit::Ms),
    ("max_messages", "--max-messages", Unit::Number),
    ("note", "--note", Unit::Bytes),
    ("on_dead", "--on-dead", Unit::Number),
    ("on_expired", "--on-expired", Unit::Number),
    ("order", "--order", Unit::Number),
    ("overflow", "--overflow", Unit::Number),
    ("overlap", "--overlap", Unit::Number),
    ("priority", "--priority", Unit::Number),
    ("progress", "--progress", Unit::Number),
    ("rate", "--rate", Unit::Number),
    ("reason", "--reason", Unit::Bytes),
    ("remaining_ms", "--for", Unit::Ms),
    ("result", "--result", Unit::Bytes),
    ("retain_settled_ms", "--retain-settled", Unit::Ms),
    ("retention_bytes", "--retention-bytes", Unit::Bytes),
    ("retention_ms", "--retention", Unit::Ms),
    ("routing_key", "--routing-key", Unit::Bytes),
    ("track", "--track", Unit::Number),
    ("ttl_ms", "--ttl", Unit::Ms),
    ("visibility_timeout_ms", "--visibility", Unit::Ms),
    ("wait_ms", "--wait", Unit::Ms),
    ("zone", "--zone", Unit::Bytes),
];

/// The refusal in the words of the command line; `None` where its own are as good.
pub(crate) fn retold(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::Invalid {
            field,
            min,
            max,
            why,
        } => {
            let (flag, unit) = flag(field)?;
            let range = if min == max {
                String::new()
            } else {
                format!(
                    " (allowed: {} to {})",
                    in_unit(*min, unit),
                    in_unit(*max, unit)
                )
            };
            Some(format!("{flag}: {why}{range}"))
        }
        Refusal::TooLarge { field, max } => {
            let (flag, unit) = flag(field)?;
            let bytes = if matches!(unit, Unit::Bytes) {
                " bytes"
            } else {
                ""
            };
            Some(format!("{flag}: more than {max}{bytes}"))
        }
        Refusal::Unsupported { field } => {
            let (flag, _) = flag(field)?;
            Some(format!("{flag} is not supported by this broker"))
        }
        Refusal::Operation { refusal, .. } => retold(refusal),
        _ => None,
    }
}

/// How a field of the wire is typed.
fn flag(field: &str) -> Option<(&'static str, Unit)> {
    let found = FLAGS.iter().find(|(known, ..)| *known == field);
    found.map(|(_, flag, unit)| (*flag, *unit))
}

fn in_unit(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Ms => units::duration(value),
        Unit::Bytes => units::bytes(value),
        Unit::Number => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_refusal_names_the_flag_and_speaks_its_units() {
        let refusal = Refusal::out_of_range("visibility_timeout_ms", 1_000, 43_200_000);
        let text = retold(&refusal).unwrap();
        assert_eq!(text, "--visibility: out of range (allowed: 1s to 12h)");
        let field = "order".into();
        let text = retold(&Refusal::Unsupported { field }).unwrap();
        assert_eq!(text, "--order is not supported by this broker");
        assert_eq!(retold(&Refusal::malformed("grant", "missing")), None);
    }

    #[test]
    fn every_flag_named_is_one_that_can_be_typed() {
        let mut known = Vec::new();
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let flags = command.get_arguments().filter_map(clap::Arg::get_long);
            known.extend(flags.map(|flag| format!("--{flag}")));
            commands.extend(command.get_subcommands().cloned());
        }
        for (field, flag, _) in FLAGS {
            let word = flag.split(' ').next().unwrap_or_default();
            assert!(known.iter().any(|known| known == word), "{field}: {flag}");
        }
    }
}
