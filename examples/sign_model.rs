//! Signs a model with a key made on the spot: the shortest way from headers to an assertion.
//!
//!     cargo run --example sign_model [FILE.yaml]
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::sync::Arc;

use hallmark::adapters::seal::{MasterKey, new_kdf};
use hallmark::adapters::softkey::SoftKeys;
use hallmark::adapters::system::SystemClock;
use hallmark::domain::assertion::{PublicKey, Statement};
use hallmark::domain::ident::AccountId;
use hallmark::ports::{Clock as _, Signer as _};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let text = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(file)?,
        None => include_str!("../assertions/templates/core24.yaml").to_owned(),
    };

    // A server keeps what `sealed` holds and loads it again; here the key is forgotten at the end.
    let seal = MasterKey::derive(b"only for this example", &new_kdf()?)?;
    let signer = SoftKeys::new(Arc::new(seal))?;
    let brand: AccountId = "acme".parse()?;
    let key = signer.generate(&brand, "model", None).await?;
    let public = PublicKey::decode(&key.public_key)?;

    // `draft` refuses what devices would refuse; `finish` decodes the result and verifies it.
    let now = SystemClock.now();
    let draft = Statement::from_yaml(&text)?.draft(&public)?;
    let signature = signer.sign(&key.id, draft.digest(now)).await?;
    let model = draft.finish(now, &signature)?;
    print!("{}", String::from_utf8_lossy(model.encoded()));
    Ok(())
}
