//! Framing: u32 big-endian length, then that many bytes of JSON.
use serde::{Serialize, de::DeserializeOwned};

/// Longest frame either side accepts; a longer one ends the connection.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes is longer than the {FRAME_BYTES_MAX} allowed")]
    TooLong(usize),
    #[error("a frame is not the JSON that was expected")]
    Json(#[from] serde_json::Error),
}

/// One message as bytes ready to be written.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut out = vec![0; 4];
    serde_json::to_writer(&mut out, message)?;
    let body = out.len() - 4;
    if body > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(body));
    }
    out[..4].copy_from_slice(&(body as u32).to_be_bytes());
    Ok(out)
}

/// Takes the first whole message off `buffer`; `None` while it is incomplete.
pub fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    Ok(match first(buffer)? {
        None => None,
        Some((message, length)) => {
            buffer.drain(..length);
            Some(message)
        }
    })
}

/// The first whole message in `bytes` and how many of them it takes; `None` while it is incomplete. For those who take
/// many messages out of one buffer, which a peer can fill with as many small ones as it likes.
pub fn first<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let body = u32::from_be_bytes(*head) as usize;
    if body > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(body));
    }
    match rest.get(..body) {
        None => Ok(None),
        Some(body) => Ok(Some((serde_json::from_slice(body)?, 4 + body.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_was_encoded_comes_back_in_any_pieces(texts in prop::collection::vec(".*", 0..8), cut in 1usize..9) {
            let bytes: Vec<u8> = texts.iter().flat_map(|t| encode(t).unwrap()).collect();
            let mut buffer = Vec::new();
            let mut got = Vec::new();
            for piece in bytes.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(text) = decode::<String>(&mut buffer).unwrap() {
                    got.push(text);
                }
            }
            prop_assert_eq!(got, texts);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn strangers_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode::<serde_json::Value>(&mut bytes);
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_it_is_read() {
        let mut buffer = u32::MAX.to_be_bytes().to_vec();
        assert!(matches!(
            decode::<String>(&mut buffer),
            Err(FrameError::TooLong(_))
        ));
    }
}
