//! JSON-RPC framing of RFC 7047 section 4: objects follow each other on the stream with nothing between them,
//! so an object ends where its braces close. Knows JSON's outline only, nothing of OVSDB.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;
use tokio_util::codec::{Decoder, Encoder};

/// Longest message accepted. The first answer to `monitor` holds the whole database.
const LONGEST_MESSAGE: usize = 512 << 20;

/// Splits a byte stream into JSON objects without scanning a byte twice.
#[derive(Debug, Default)]
pub struct JsonObjects {
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Decoder for JsonObjects {
    type Item = Value;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Value>> {
        while let Some(&byte) = buffer.get(self.scanned) {
            self.scanned += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => {
                    return Err(invalid("a closing brace without an opening one"));
                }
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 && matches!(byte, b'}' | b']') {
                let message: Bytes = buffer.split_to(self.scanned).freeze();
                *self = JsonObjects::default();
                return serde_json::from_slice(&message)
                    .map(Some)
                    .map_err(io::Error::other);
            }
        }
        if self.scanned > LONGEST_MESSAGE {
            return Err(invalid("a message is longer than is accepted"));
        }
        Ok(None)
    }
}

impl Encoder<Value> for JsonObjects {
    type Error = io::Error;

    fn encode(&mut self, message: Value, buffer: &mut BytesMut) -> io::Result<()> {
        serde_json::to_writer(buffer.writer(), &message).map_err(io::Error::other)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn braces_in_strings_do_not_count() {
        let mut buffer = BytesMut::from(&br#"{"a":"}\"{"} {"b":[1,{}]}"#[..]);
        let mut codec = JsonObjects::default();
        assert_eq!(
            codec.decode(&mut buffer).unwrap(),
            Some(json!({"a": "}\"{"}))
        );
        assert_eq!(
            codec.decode(&mut buffer).unwrap(),
            Some(json!({"b": [1, {}]}))
        );
        assert_eq!(codec.decode(&mut buffer).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_messages(texts in proptest::collection::vec(".*", 1..4), step in 1usize..7) {
            let messages: Vec<Value> = texts.iter().map(|text| json!({"id": text, "params": [{"k": text}]})).collect();
            let wire: Vec<u8> = messages.iter().flat_map(|message| message.to_string().into_bytes()).collect();
            let (mut codec, mut buffer, mut seen) = (JsonObjects::default(), BytesMut::new(), Vec::new());
            for part in wire.chunks(step) {
                buffer.extend_from_slice(part);
                while let Some(message) = codec.decode(&mut buffer).unwrap() {
                    seen.push(message);
                }
            }
            prop_assert_eq!(seen, messages);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut codec = JsonObjects::default();
            while let Ok(Some(_)) = codec.decode(&mut buffer) {}
        }
    }
}
