//! `ADDRESS@OFFSET`: one message of one queue or subscription.

use std::fmt;
use std::str::FromStr;

use siding::Address;

/// One message as one queue or subscription sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) address: String,
    pub(crate) offset: u64,
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, offset) = text
            .rsplit_once('@')
            .ok_or("a message is ADDRESS@OFFSET, such as jobs@17 or orders/billing@17")?;
        let parsed: Address = address.parse().map_err(|error| format!("{error}"))?;
        let offset = offset
            .parse()
            .map_err(|_| format!("{offset:?} is not an offset: a number from 0"))?;
        Ok(Self {
            address: parsed.to_string(),
            offset,
        })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.address, self.offset)
    }
}

/// A whole queue or subscription, or one message of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: String,
    pub(crate) offset: Option<u64>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            let Id { address, offset } = text.parse()?;
            let offset = Some(offset);
            return Ok(Self { address, offset });
        }
        let address: Address = text.parse().map_err(|error| format!("{error}"))?;
        Ok(Self {
            address: address.to_string(),
            offset: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_address_and_an_offset() {
        let id: Id = "orders/billing@17".parse().unwrap();
        assert_eq!((id.address.as_str(), id.offset), ("orders/billing", 17));
        assert_eq!(id.to_string(), "orders/billing@17");
        assert!("jobs".parse::<Id>().unwrap_err().contains("ADDRESS@OFFSET"));
        assert!("jobs@x".parse::<Id>().unwrap_err().contains("offset"));
        assert!("a b@1".parse::<Id>().is_err());
        let place: Place = "jobs".parse().unwrap();
        assert_eq!(place.offset, None);
        let place: Place = "jobs@0".parse().unwrap();
        assert_eq!(place.offset, Some(0));
    }
}
