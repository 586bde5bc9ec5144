//! Lists that come in pages. The SDK has no paginators for App Runner.

use crate::Result;

/// A page as its call answers it: the items, and the `NextToken` of the page behind it.
pub type Page<T> = (Vec<T>, Option<String>);

/// Everything in a list. `page` asks for the page of a token, and first for that of none.
///
/// # Errors
/// Those of `page`.
pub async fn all<T>(
    mut page: impl AsyncFnMut(Option<String>) -> Result<Page<T>>,
) -> Result<Vec<T>> {
    let (mut found, mut next_token) = (Vec::new(), None);
    loop {
        let (items, next) = page(next_token).await?;
        found.extend(items);
        if next.is_none() {
            return Ok(found);
        }
        next_token = next;
    }
}

/// The first item of a list that is wanted. No page behind it is asked for.
///
/// # Errors
/// Those of `page`.
pub async fn find<T>(
    mut page: impl AsyncFnMut(Option<String>) -> Result<Page<T>>,
    is_wanted: impl Fn(&T) -> bool,
) -> Result<Option<T>> {
    let mut next_token = None;
    loop {
        let (items, next) = page(next_token).await?;
        let found = items.into_iter().find(&is_wanted);
        if found.is_some() || next.is_none() {
            return Ok(found);
        }
        next_token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Three pages of one number each, and how many were asked for.
    async fn page(asked: &Cell<u32>, token: Option<String>) -> Result<Page<u32>> {
        asked.set(asked.get() + 1);
        let number = token.map_or(1, |token| token.parse().expect("a number"));
        Ok((vec![number], (number < 3).then(|| (number + 1).to_string())))
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_last_page() {
        let asked = Cell::new(0);
        let found = all(|token| page(&asked, token)).await.expect("read");
        assert_eq!((found, asked.get()), (vec![1, 2, 3], 3));
    }

    #[tokio::test]
    async fn no_page_behind_what_is_found_is_asked_for() {
        for (wanted, found, pages) in [(2, Some(2), 2), (4, None, 3)] {
            let asked = Cell::new(0);
            let answer = find(|token| page(&asked, token), |it| *it == wanted).await;
            assert_eq!((answer.expect("read"), asked.get()), (found, pages));
        }
    }
}
