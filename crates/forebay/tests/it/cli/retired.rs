//! Retired routes, as the commands about dead letters and routes tell of them.

use testbed::Result;

use super::dlq::{CONFIG, with_dead_letters};

#[tokio::test(flavor = "multi_thread")]
async fn a_routes_dead_letters_are_not_discarded_with_it_unless_that_is_said() -> Result<()> {
    let mut forebay = with_dead_letters().await?;
    forebay.terminate()?;
    assert_eq!(forebay.wait().await?.code, Some(0), "{}", forebay.tail());
    let config = CONFIG.replace("[routes.orders]", "[routes.other]");
    let file = forebay.launch().dir().join("forebay.toml");
    std::fs::write(&file, config).unwrap();
    let data_dir = forebay.data_dir().display().to_string();
    let retire = ["routes", "retire", "orders", "--data-dir", &data_dir];
    let discard = [&retire[..], &["--pending", "discard"]].concat();
    let asked = forebay.cli(&discard).await?;
    assert_eq!(asked.code, Some(2), "{asked:?}");
    for word in ["9 dead letters", "--yes", "--pending dead-letter"] {
        assert!(asked.stderr.contains(word), "no {word:?} in {asked:?}");
    }
    let told = forebay.cli(&[&discard[..], &["--yes"]].concat()).await?;
    assert_eq!(told.code, Some(0), "{told:?}");
    let words = "0 pending events, 0 parked ones and 9 dead letters were discarded";
    assert!(told.stderr.contains(words), "{told:?}");
    Ok(())
}
