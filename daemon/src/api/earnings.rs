//! Earnings: who earned what, for which role, from which DataNet and contribution.
//!
//! They are counted anew for each request, over all settled receipts and base dividends in the ledger, up to
//! [`MAX_RECORDS`] of each. Past that, `truncated` says that the sums are too low.

use super::Api;
use super::data::MAX_COUNTED;
use super::error::ApiError;
use super::types::{Earned, EarnedBy, Earnings, ErrorDocument};
use super::view::{View, parse, read};
use axum::Json;
use axum::extract::{Path, State};
use protocol::ids::{Account, ContributionId, DataNetId};
use protocol::ledger::keys;
use protocol::ledger::records::{AdmissionRecord, DividendRecord, Line, ReceiptRecord, ReceiptState, Role};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Receipts, and dividends, that one request counts.
const MAX_RECORDS: usize = 1_000_000;

/// What one account has earned.
#[derive(Default)]
struct Tally {
    pending: u128,
    available: u128,
    receipts: u64,
    by_role: BTreeMap<Role, u128>,
    by_datanet: BTreeMap<DataNetId, u128>,
    by_contribution: BTreeMap<ContributionId, u128>,
}

impl Tally {
    fn add(
        &mut self,
        role: Role,
        datanet: Option<DataNetId>,
        contribution: Option<ContributionId>,
        drops: u128,
        vested: bool,
    ) {
        *(if vested { &mut self.available } else { &mut self.pending }) += drops;
        *self.by_role.entry(role).or_default() += drops;
        if let Some(datanet) = datanet {
            *self.by_datanet.entry(datanet).or_default() += drops;
        }
        if let Some(contribution) = contribution {
            *self.by_contribution.entry(contribution).or_default() += drops;
        }
    }
}

#[derive(Default)]
struct Count {
    accounts: BTreeMap<Account, Tally>,
    treasury: u128,
    truncated: bool,
}

fn count(view: &View<'_>) -> Result<(u64, Count), ApiError> {
    let height = view.0.height()?;
    let mut count = Count::default();
    if height == 0 {
        return Ok((height, count));
    }
    let window = view.params()?.dispute_window;
    let vested = |at: u64| height >= at.saturating_add(window);
    let more = view.scan(&[keys::RECEIPTS], MAX_RECORDS, |_, record: ReceiptRecord| {
        if let ReceiptState::Settled(settlement) = record.state {
            count.lines(&settlement.lines, vested(settlement.height));
        }
        Ok(())
    })?;
    let still_more = view.scan(&[keys::DIVIDENDS], MAX_RECORDS, |key, record: DividendRecord| {
        let (at, datanet) = (keys::first_number(key), DataNetId(keys::last_id(key)));
        for (account, amount) in record.parts {
            let tally = count.accounts.entry(account).or_default();
            tally.add(Role::Base, Some(datanet), None, amount.0, vested(at));
        }
        Ok(())
    })?;
    count.truncated = more || still_more;
    Ok((height, count))
}

impl Count {
    fn lines(&mut self, lines: &[Line], vested: bool) {
        let mut paid = BTreeSet::new();
        for line in lines {
            match (line.role, line.account) {
                (Role::Treasury, _) => self.treasury += line.amount.0,
                // A DataNet's part is divided among its contributors by block: the dividends hold it.
                (Role::Base, _) | (_, None) => {}
                (role, Some(account)) => {
                    let tally = self.accounts.entry(account).or_default();
                    tally.add(role, line.datanet, line.contribution, line.amount.0, vested);
                    tally.receipts += u64::from(paid.insert(account));
                }
            }
        }
    }
}

/// What all accounts earned, most first.
#[utoipa::path(get, path = "/v1/earnings", tag = "earnings", responses((status = 200, description = "Earnings", body = Earnings)))]
pub(super) async fn all(State(api): State<Api>) -> Result<Json<Earnings>, ApiError> {
    let work = |view: &View<'_>| {
        let (height, count) = count(view)?;
        let mut names = names(view, |account| count.accounts.contains_key(account))?;
        let mut accounts: Vec<(&Account, &Tally)> = count.accounts.iter().collect();
        accounts.sort_by_key(|(account, tally)| (Reverse(tally.pending + tally.available), **account));
        let accounts = accounts.into_iter().map(|(account, tally)| shown(view, *account, tally, &mut names));
        Ok(Earnings {
            height,
            accounts: accounts.collect::<Result<_, _>>()?,
            treasury: count.treasury.to_string(),
            truncated: count.truncated,
        })
    };
    read(&api.services, work).await.map(Json)
}

/// What one account earned. One that never earned anything has nothing.
#[utoipa::path(get, path = "/v1/earnings/{account}", tag = "earnings",
    params(("account" = String, Path, description = "Its address")), responses(
    (status = 200, description = "Its earnings", body = Earned),
    (status = 400, description = "Not an address", body = ErrorDocument),
))]
pub(super) async fn one(State(api): State<Api>, Path(account): Path<String>) -> Result<Json<Earned>, ApiError> {
    let account: Account = parse(&account)?;
    let work = move |view: &View<'_>| {
        let (_, mut count) = count(view)?;
        let mut names = names(view, |other| *other == account)?;
        shown(view, account, &count.accounts.remove(&account).unwrap_or_default(), &mut names)
    };
    read(&api.services, work).await.map(Json)
}

/// The names that accounts are credited under.
fn names(view: &View<'_>, wanted: impl Fn(&Account) -> bool) -> Result<BTreeMap<Account, BTreeSet<String>>, ApiError> {
    let mut names: BTreeMap<Account, BTreeSet<String>> = BTreeMap::new();
    view.scan(&[keys::ADMISSIONS], MAX_COUNTED, |key, record: AdmissionRecord| {
        if wanted(&record.contributor) {
            let credit = view.contribution(&ContributionId(keys::last_id(key)))?.credit;
            names.entry(record.contributor).or_default().insert(credit);
        }
        Ok(())
    })?;
    Ok(names)
}

fn shown(
    view: &View<'_>,
    account: Account,
    tally: &Tally,
    names: &mut BTreeMap<Account, BTreeSet<String>>,
) -> Result<Earned, ApiError> {
    let mut by_datanet: Vec<_> = tally.by_datanet.iter().collect();
    by_datanet.sort_by_key(|(id, drops)| (Reverse(**drops), **id));
    let by_datanet = by_datanet
        .into_iter()
        .map(|(id, drops)| Ok(EarnedBy { id: id.to_string(), name: view.datanet(id)?.name, drops: drops.to_string() }));
    let mut by_contribution: Vec<_> = tally.by_contribution.iter().collect();
    by_contribution.sort_by_key(|(id, drops)| (Reverse(**drops), **id));
    let by_contribution = by_contribution.into_iter().map(|(id, drops)| {
        Ok(EarnedBy { id: id.to_string(), name: view.contribution(id)?.title, drops: drops.to_string() })
    });
    Ok(Earned {
        account: account.to_string(),
        names: names.remove(&account).unwrap_or_default().into_iter().collect(),
        earned: (tally.pending + tally.available).to_string(),
        pending: tally.pending.to_string(),
        available: tally.available.to_string(),
        receipts: tally.receipts,
        by_role: tally.by_role.iter().map(|(role, drops)| (role.as_str().to_owned(), drops.to_string())).collect(),
        by_datanet: by_datanet.collect::<Result<_, ApiError>>()?,
        by_contribution: by_contribution.collect::<Result<_, ApiError>>()?,
    })
}
