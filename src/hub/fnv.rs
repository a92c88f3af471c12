//! Which partition an instance belongs to: FNV-1a of the raw id (docs/storage-layout.md, Names).

/// The partition of an instance among `count`.
pub(crate) fn partition_of(instance_id: &str, count: u32) -> u32 {
    fnv1a(instance_id.as_bytes()) % count.max(1)
}

/// The 32-bit FNV-1a hash; the app lease is named by it too.
pub(crate) fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_partitions_are_those_of_dotnet() {
        for (id, hash, partitions) in [
            ("", 2_166_136_261, [1, 1, 5, 1, 5]),
            ("a", 3_826_002_220, [0, 0, 4, 0, 12]),
            ("abc", 440_920_331, [1, 3, 3, 1, 11]),
            ("ABC", 1_552_166_763, [1, 3, 3, 3, 11]),
            ("instance-1", 4_203_887_252, [0, 0, 4, 2, 4]),
            ("instance-2", 4_254_220_109, [1, 1, 5, 9, 13]),
            ("a/b#c?", 1_138_975_872, [0, 0, 0, 2, 0]),
            ("日本語", 2_153_733_351, [1, 3, 7, 1, 7]),
            ("@counter@k1", 510_912_747, [1, 3, 3, 7, 11]),
            ("😀", 866_293_256, [0, 0, 0, 6, 8]),
            ("héllo", 1_252_296_000, [0, 0, 0, 0, 0]),
            ("0f3a6c6f6f6c4b0f9c3b8a1d2e4f5a6b:2", 3_127_950_193, [1, 1, 1, 3, 1]),
            ("\u{fffd}", 55_024_714, [0, 2, 2, 4, 10]),
        ] {
            assert_eq!(fnv1a(id.as_bytes()), hash, "{id}");
            assert_eq!([2, 4, 8, 10, 16].map(|count| partition_of(id, count)), partitions, "{id}");
        }
    }
}
