
// Loads a tokenizer.json; a file that makes the library panic is an error. Appended to the module's source by
// scripts/setup.sh: there, a panic while loading would end the process.
fn load(bytes: &[u8]) -> std::result::Result<Tokenizer, Box<dyn std::error::Error + Send + Sync>> {
    std::panic::catch_unwind(|| Tokenizer::from_bytes(bytes)).unwrap_or_else(|_| Err("the file makes the tokenizers library panic".into()))
}
