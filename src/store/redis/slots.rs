//! Which server of a cluster has which slot.

use redis::Value;

/// A server as the cluster names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

/// A range of slots and the primary that has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) primary: Node,
}

/// The slot of a key: CRC-16 of the key, or of what stands in its first braces, if anything.
pub(super) fn slot_of(key: &str) -> u16 {
    let hashed = match key.split_once('{').map(|(_, tail)| tail.split_once('}')) {
        Some(Some((tag, _))) if !tag.is_empty() => tag,
        _ => key,
    };
    crc16(hashed.as_bytes()) % 16_384
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            let carry = if crc & 0x8000 == 0 { 0 } else { 0x1021 };
            (crc << 1) ^ carry
        })
    })
}

/// Reads the reply to `CLUSTER SLOTS` of the server `asked`; `None` if it is not one.
pub(super) fn ranges(reply: &Value, asked: &Node) -> Option<Vec<Range>> {
    let Value::Array(ranges) = reply else {
        return None;
    };
    ranges
        .iter()
        .map(|range| self::range(range, asked))
        .collect()
}

fn range(range: &Value, asked: &Node) -> Option<Range> {
    let Value::Array(items) = range else {
        return None;
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(primary),
        ..,
    ] = items.as_slice()
    else {
        return None;
    };
    let [host, Value::Int(port), ..] = primary.as_slice() else {
        return None;
    };
    Some(Range {
        first: u16::try_from(*first).ok()?,
        last: u16::try_from(*last).ok()?,
        primary: Node {
            host: text(host).unwrap_or_else(|| asked.host.clone()),
            port: u16::try_from(*port).ok()?,
        },
    })
}

/// A server that does not know its own name leaves it out.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
    .filter(|text| !text.is_empty())
}

/// Reads what follows `MOVED` or `ASK` in an error of the server `asked`: slot, host, port.
pub(super) fn redirection(details: &str, asked: &Node) -> Option<Node> {
    let (_, address) = details.split_once(' ')?;
    let (host, port) = address.split(' ').next()?.rsplit_once(':')?;
    let host = if host.is_empty() { &asked.host } else { host };
    Some(Node {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        let host = host.to_owned();
        Node { host, port }
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of("{user1000}.following"), slot_of("user1000"));
        assert_eq!(slot_of("a{user1000}.{b}"), slot_of("user1000"));
        assert_eq!(slot_of("foo{}{bar}"), crc16(b"foo{}{bar}") % 16_384);
        assert_eq!(slot_of("foo{{bar}}"), slot_of("{bar"));
        assert_eq!(slot_of("foo{bar"), crc16(b"foo{bar") % 16_384);
    }

    #[test]
    fn redirections_name_a_server() {
        let asked = node("asked", 1);
        let to = |details| redirection(details, &asked);
        assert_eq!(to("3999 127.0.0.1:6381"), Some(node("127.0.0.1", 6381)));
        assert_eq!(to("3999 ::1:6381"), Some(node("::1", 6381)));
        assert_eq!(to("3999 :6381"), Some(node("asked", 6381)));
        assert_eq!(to("3999"), None);
        assert_eq!(to("3999 nowhere"), None);
    }

    fn reply(host: Value) -> Value {
        let replica = Value::Array(vec![Value::SimpleString("r".into()), Value::Int(9)]);
        let id = Value::BulkString(b"id".to_vec());
        let primary = Value::Array(vec![host, Value::Int(6381), id]);
        let range = vec![Value::Int(0), Value::Int(5460), primary, replica];
        Value::Array(vec![Value::Array(range)])
    }

    #[test]
    fn ranges_name_their_primary() {
        let asked = node("asked", 1);
        for (host, name) in [
            (Value::BulkString(b"10.0.0.1".to_vec()), "10.0.0.1"),
            (Value::BulkString(Vec::new()), "asked"),
            (Value::Nil, "asked"),
        ] {
            let range = Range {
                first: 0,
                last: 5460,
                primary: node(name, 6381),
            };
            assert_eq!(ranges(&reply(host), &asked), Some(vec![range]));
        }
        assert_eq!(ranges(&Value::Nil, &asked), None);
        assert_eq!(ranges(&Value::Array(vec![Value::Int(1)]), &asked), None);
    }
}
