//! Balance statements in each format, and the PDFs this world hands out.

use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::Call;
use super::balances::Balance;
use super::balances::Balances;
use super::balances::Line;
use super::money;
use super::profiles::Profiles;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;
use crate::simulator::reply::typed;
use crate::simulator::times;

pub(super) fn statement(call: &Call<'_>, balances: &Balances, profiles: &Profiles) -> Reply {
    let Some(balance) = balances.find(call.profile(), call.found.id("balanceId")) else {
        return call.missing("Balance");
    };
    for name in ["currency", "intervalStart", "intervalEnd"] {
        if call.query(name).is_none() {
            let message = "Required parameter is not present";
            return errors::field(StatusCode::BAD_REQUEST, "NotNull", name, message);
        }
    }
    if call.query("currency") != Some(balance.currency) {
        let message = "Currency differs from the balance";
        return errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", "currency", message);
    }
    let interval = call.query("intervalStart").zip(call.query("intervalEnd"));
    let (start, end) = interval.unwrap_or_default();
    // Timestamps of one format sort as text.
    let lines: Vec<&Line> = balance
        .lines
        .iter()
        .filter(|line| {
            let at = times::milliseconds(line.at);
            at.as_str() >= start && at.as_str() <= end
        })
        .collect();
    match call.found.text("format") {
        Some("json") => as_json(call, balance, &lines, profiles),
        Some("csv") => typed(StatusCode::OK, "text/csv", as_csv(balance, &lines)),
        Some("pdf") => {
            let title = format!("Statement {}", balance.currency);
            let size = usize::try_from(call.faults.resource.pdf_bytes).unwrap_or(4_096);
            typed(StatusCode::OK, "application/pdf", pdf(&title, size))
        }
        Some("xlsx" | "xml" | "mt940" | "qif") => typed(
            StatusCode::OK,
            "application/octet-stream",
            as_csv(balance, &lines),
        ),
        Some(_) | None => call.missing("Statement format"),
    }
}

fn as_json(call: &Call<'_>, balance: &Balance, lines: &[&Line], profiles: &Profiles) -> Reply {
    let holder = profiles
        .find(balance.profile)
        .map_or("", |profile| profile.name.as_str());
    let transactions: Vec<Value> = lines
        .iter()
        .rev()
        .map(|line| {
            json!({
                "type": if line.cents < 0 { "DEBIT" } else { "CREDIT" },
                "date": times::milliseconds(line.at),
                "amount": money::amount(line.cents, balance.currency),
                "totalFees": money::amount(0, balance.currency),
                "details": {"type": "TRANSFER", "description": line.description},
                "exchangeDetails": null,
                "runningBalance": money::amount(line.running, balance.currency),
                "referenceNumber": line.reference,
            })
        })
        .collect();
    json_reply(
        StatusCode::OK,
        &json!({
            "accountHolder": {"type": "BUSINESS", "businessName": holder},
            "issuer": {"name": "Wise (simulated)", "country": "BE"},
            "bankDetails": null,
            "transactions": transactions,
            "endOfStatementBalance": money::amount(balance.cents, balance.currency),
            "query": {
                "intervalStart": call.query("intervalStart"),
                "intervalEnd": call.query("intervalEnd"),
                "currency": balance.currency,
                "accountId": call.found.id("balanceId"),
            },
        }),
    )
}

fn as_csv(balance: &Balance, lines: &[&Line]) -> String {
    let mut csv =
        "\"TransferWise ID\",Date,Amount,Currency,Description,\"Running Balance\"\n".to_owned();
    for line in lines {
        let _ = writeln!(
            csv,
            "{},{},{},{},\"{}\",{}",
            line.reference,
            times::seconds(line.at),
            money::text(line.cents),
            balance.currency,
            line.description,
            money::text(line.running)
        );
    }
    csv
}

/// A one-page PDF that readers open, padded with comments to `size` bytes.
pub(super) fn pdf(title: &str, size: usize) -> Bytes {
    let text = format!("BT /F1 18 Tf 72 720 Td ({title}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut pdf = "%PDF-1.4\n".to_owned();
    let mut offsets = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        offsets.push(pdf.len());
        let _ = write!(pdf, "{} 0 obj\n{object}\nendobj\n", number + 1);
    }
    let mut tail = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        let _ = writeln!(tail, "{offset:010} 00000 n ");
    }
    let _ = write!(
        tail,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n",
        objects.len() + 1
    );
    // The cross-reference table's own offset has as many digits as the padded size at most.
    let rest = tail.len() + size.to_string().len() + "\n%%EOF\n".len();
    let padding = size.saturating_sub(pdf.len() + rest);
    if padding > 1 {
        pdf.push('%');
        pdf.extend(std::iter::repeat_n('.', padding - 2));
        pdf.push('\n');
    }
    let start = pdf.len();
    let _ = write!(pdf, "{tail}{start}\n%%EOF\n");
    pdf.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pdf_is_about_as_large_as_asked_and_points_to_its_own_table() {
        let pdf = pdf("Test", 100_000);
        assert!(
            (99_990..=100_000).contains(&pdf.len()),
            "{} bytes",
            pdf.len()
        );
        let text = String::from_utf8(pdf.to_vec()).unwrap();
        let start: usize = text.lines().rev().nth(1).unwrap().parse().unwrap();
        assert!(text[start..].starts_with("xref"));
    }
}
