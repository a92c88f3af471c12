//! All instances that match a query, page after page.

use super::{Client, InstanceQuery, InstanceStatus};
use crate::error::Result;

/// The pages of a list of instances, one after the other. Made by [`Client::pages`].
#[derive(Clone, Debug)]
#[must_use = "nothing is read until a page is asked for"]
pub struct InstancePages<'a> {
    client: &'a Client,
    /// `None` behind the last page.
    query: Option<InstanceQuery>,
}

impl Client {
    /// Everything that [`list`](Self::list) finds, from the query's continuation on, as many pages as there are.
    ///
    /// ```no_run
    /// # use taskhub::{Client, InstanceQuery, RuntimeStatus};
    /// # async fn f(client: Client) -> Result<(), taskhub::Error> {
    /// let failed = InstanceQuery { statuses: vec![RuntimeStatus::Failed], with_payloads: false, page_size: 1000, ..InstanceQuery::default() };
    /// println!("{} have failed", client.pages(failed.clone()).all().await?.len());
    ///
    /// let mut pages = client.pages(failed);
    /// while let Some(page) = pages.next().await? {
    ///     page.iter().for_each(|instance| println!("{}", instance.instance_id));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn pages(&self, query: InstanceQuery) -> InstancePages<'_> {
        InstancePages { client: self, query: Some(query) }
    }
}

impl InstancePages<'_> {
    /// The next page, which may be empty and yet have a successor; `None` behind the last one.
    ///
    /// # Errors
    /// As [`Client::list`]. The same page is read again then.
    pub async fn next(&mut self) -> Result<Option<Vec<InstanceStatus>>> {
        let Some(query) = &mut self.query else { return Ok(None) };
        let page = self.client.list(query).await?;
        match page.continuation {
            None => self.query = None,
            continuation => query.continuation = continuation,
        }
        Ok(Some(page.instances))
    }

    /// The instances of all pages that are left.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn all(mut self) -> Result<Vec<InstanceStatus>> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
    }
}
