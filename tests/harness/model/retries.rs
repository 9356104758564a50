//! Whether a request under a ticket that was answered before is that request again, as far as anybody can tell.

use siding_broker::engine::command::{Operation, Publish};
use siding_protocol::event::{Answer, Confirm, OperationDone};

/// Whether an answer is that of this publish.
pub(super) fn is_of(answer: &Answer, publish: &Publish) -> bool {
    matches!(answer, Answer::Confirm(confirm) if confirms(confirm, publish))
}

fn confirms(confirm: &Confirm, publish: &Publish) -> bool {
    let asked: u32 = publish.pieces.iter().map(|piece| piece.count).sum();
    confirm.log_id == publish.log
        && confirm.count as usize + confirm.duplicates.len() == asked as usize
}

/// Whether an answer is that of a transaction of these operations.
pub(super) fn are_of(answer: &Answer, operations: &[Operation]) -> bool {
    let Answer::TransactionDone(done) = answer else {
        return false;
    };
    done.len() == operations.len()
        && done.iter().zip(operations).all(|(done, asked)| match done {
            OperationDone::Publish(confirm) => match &asked.publish {
                Some(publish) => confirms(confirm, publish),
                None => false,
            },
            OperationDone::Settle(_) => asked.settle.is_some(),
            OperationDone::Cancelled => asked.cancel.is_some(),
        })
}
