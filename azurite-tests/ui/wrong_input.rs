//! An input and a payload of other types than the handles say.
//~ `{integer}` is not an input of type `String`
//~ expected `String` or `&String`
//~ `&str` is not an input of type `bool`
//~ a handle types the input of its activity or orchestrator, and the payload of its event

use taskhub::{Client, Error, Event, Orchestrator};

const FULFIL: Orchestrator<String, u64> = Orchestrator::new("Fulfil");
const APPROVAL: Event<bool> = Event::new("Approval");

pub async fn order(client: Client) -> Result<u64, Error> {
    let order = client.start(FULFIL, 7).await?;
    order.raise(APPROVAL, "yes").await?;
    order.result().await
}
