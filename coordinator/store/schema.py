"""The tables of the coordinator's store.

``inbox`` is the only original: every accepted input verbatim and in order, append-only. All other tables follow
from it and are rebuilt to equality by replaying it. Amounts are nano-currency, energies Wh, prices micro/kWh.
"""

from __future__ import annotations

ORIGINAL_TABLES = ("inbox",)

DDL = """
CREATE TABLE IF NOT EXISTS inbox (
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS participants (
  account INTEGER PRIMARY KEY, owner BLOB NOT NULL, key BLOB NOT NULL, edge TEXT UNIQUE,
  deposited_nano INTEGER NOT NULL DEFAULT 0, withdrawn_nano INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS elements (
  account INTEGER PRIMARY KEY, public_key BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS settlement_readings (
  account INTEGER NOT NULL, meter INTEGER NOT NULL, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
  interval INTEGER NOT NULL, taken_at_s INTEGER NOT NULL, import_wh INTEGER NOT NULL, export_wh INTEGER NOT NULL,
  flags INTEGER NOT NULL, hash BLOB NOT NULL, inbox_id INTEGER NOT NULL,
  PRIMARY KEY (account, meter, epoch, sequence)
) STRICT;
CREATE INDEX IF NOT EXISTS settlement_readings_by_interval ON settlement_readings (account, meter, interval);
CREATE TABLE IF NOT EXISTS telemetry_batches (
  account INTEGER NOT NULL, meter INTEGER NOT NULL, epoch INTEGER NOT NULL, first_sequence INTEGER NOT NULL,
  count INTEGER NOT NULL, hash BLOB NOT NULL, inbox_id INTEGER NOT NULL,
  PRIMARY KEY (account, meter, epoch, first_sequence)
) STRICT;
CREATE TABLE IF NOT EXISTS roll_ups (
  account INTEGER NOT NULL, meter INTEGER NOT NULL, interval INTEGER NOT NULL,
  readings INTEGER NOT NULL, power_readings INTEGER NOT NULL, power_w_sum INTEGER NOT NULL,
  power_w_min INTEGER, power_w_max INTEGER, voltage_mv_min INTEGER, voltage_mv_max INTEGER,
  frequency_mhz_min INTEGER, frequency_mhz_max INTEGER,
  PRIMARY KEY (account, meter, interval)
) STRICT;
CREATE TABLE IF NOT EXISTS latest_readings (
  account INTEGER NOT NULL, meter INTEGER NOT NULL, taken_at_s INTEGER NOT NULL,
  power_w INTEGER, voltage_mv INTEGER, frequency_mhz INTEGER, import_wh INTEGER, export_wh INTEGER,
  PRIMARY KEY (account, meter)
) STRICT;
CREATE TABLE IF NOT EXISTS gaps (
  account INTEGER NOT NULL, meter INTEGER NOT NULL, stream INTEGER NOT NULL, epoch INTEGER NOT NULL,
  first_sequence INTEGER NOT NULL, last_sequence INTEGER NOT NULL, reason INTEGER NOT NULL,
  PRIMARY KEY (account, meter, stream, epoch, first_sequence)
) STRICT;
CREATE TABLE IF NOT EXISTS spans (
  account INTEGER NOT NULL, meter INTEGER NOT NULL, stream INTEGER NOT NULL, epoch INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (account, meter, stream, epoch, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS equivocations (
  inbox_id INTEGER PRIMARY KEY, account INTEGER NOT NULL, identity TEXT NOT NULL, first_inbox_id INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS bids (
  account INTEGER NOT NULL, product INTEGER NOT NULL, version INTEGER NOT NULL, side INTEGER NOT NULL,
  quantity_wh INTEGER NOT NULL, limit_price INTEGER NOT NULL, expiry_s INTEGER NOT NULL, hash BLOB NOT NULL,
  signature BLOB NOT NULL, first_round INTEGER NOT NULL, filled_wh INTEGER NOT NULL DEFAULT 0,
  live INTEGER NOT NULL DEFAULT 1, binds INTEGER NOT NULL DEFAULT 1, cancelled_at_s INTEGER,
  inbox_id INTEGER NOT NULL,
  PRIMARY KEY (account, product, version)
) STRICT;
CREATE INDEX IF NOT EXISTS bids_live ON bids (product, account) WHERE live = 1;
CREATE INDEX IF NOT EXISTS bids_binding ON bids (account) WHERE binds = 1;
CREATE INDEX IF NOT EXISTS bids_by_product ON bids (product, account, version);
CREATE TABLE IF NOT EXISTS standing_orders (
  account INTEGER NOT NULL, version INTEGER NOT NULL, valid_from_s INTEGER NOT NULL, valid_until_s INTEGER NOT NULL,
  terms BLOB NOT NULL, signature BLOB NOT NULL, hash BLOB NOT NULL, first_header INTEGER NOT NULL,
  inbox_id INTEGER NOT NULL,
  PRIMARY KEY (account, version)
) STRICT;
CREATE TABLE IF NOT EXISTS positions (
  account INTEGER NOT NULL, product INTEGER NOT NULL, position_wh INTEGER NOT NULL, cost_nano INTEGER NOT NULL,
  PRIMARY KEY (product, account)
) STRICT;
CREATE TABLE IF NOT EXISTS auctions (
  product INTEGER NOT NULL, round INTEGER NOT NULL, rule INTEGER NOT NULL, cleared_at_s INTEGER NOT NULL,
  header_interval INTEGER NOT NULL, price INTEGER NOT NULL, volume_wh INTEGER NOT NULL, hash BLOB NOT NULL,
  auction BLOB NOT NULL,
  PRIMARY KEY (product, round)
) STRICT;
CREATE INDEX IF NOT EXISTS auctions_by_header ON auctions (header_interval, product, round);
CREATE TABLE IF NOT EXISTS slots (
  product INTEGER NOT NULL, round INTEGER NOT NULL, account INTEGER NOT NULL, fill_wh INTEGER NOT NULL,
  side INTEGER NOT NULL, slot BLOB NOT NULL, signature BLOB NOT NULL,
  PRIMARY KEY (product, round, account)
) STRICT;

CREATE TABLE IF NOT EXISTS registers (
  account INTEGER PRIMARY KEY, interval INTEGER NOT NULL, import_wh INTEGER NOT NULL, export_wh INTEGER NOT NULL,
  reading_hash BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS balances (
  account INTEGER PRIMARY KEY, cumulative_nano INTEGER NOT NULL, reserved_nano INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS commitments (
  product INTEGER NOT NULL, account INTEGER NOT NULL, bid_nano INTEGER NOT NULL, interval_nano INTEGER NOT NULL,
  PRIMARY KEY (product, account)
) STRICT;
CREATE INDEX IF NOT EXISTS commitments_by_account ON commitments (account);
CREATE TABLE IF NOT EXISTS statements (
  account INTEGER NOT NULL, interval INTEGER NOT NULL, metered_wh INTEGER NOT NULL, contracted_wh INTEGER NOT NULL,
  contracted_cost_nano INTEGER NOT NULL, deviation_wh INTEGER NOT NULL, spot_fill_wh INTEGER NOT NULL,
  spot_price INTEGER NOT NULL, supplier_wh INTEGER NOT NULL, supplier_price INTEGER NOT NULL,
  result_nano INTEGER NOT NULL, without_community_nano INTEGER NOT NULL,
  PRIMARY KEY (account, interval)
) STRICT;
CREATE TABLE IF NOT EXISTS headers (
  interval INTEGER PRIMARY KEY, header BLOB NOT NULL, digest BLOB NOT NULL UNIQUE, signature BLOB NOT NULL,
  record BLOB NOT NULL, state TEXT NOT NULL, chain_index INTEGER, posted_at_s INTEGER, gas INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS demands (
  number INTEGER PRIMARY KEY, chain_index INTEGER NOT NULL, question INTEGER NOT NULL, place INTEGER NOT NULL,
  subject INTEGER NOT NULL, deadline_s INTEGER NOT NULL, promise TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS prices (
  interval INTEGER PRIMARY KEY, price INTEGER NOT NULL, demand_permille INTEGER NOT NULL,
  supply_permille INTEGER NOT NULL, time_permille INTEGER NOT NULL, stability_permille INTEGER NOT NULL,
  demand_w INTEGER NOT NULL, supply_w INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS set_points (
  account INTEGER NOT NULL, device INTEGER NOT NULL, sequence INTEGER NOT NULL, kind INTEGER NOT NULL,
  power_w INTEGER NOT NULL, valid_until_s INTEGER NOT NULL, outcome INTEGER, reported_power_w INTEGER,
  outcomes_seen INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (account, device, sequence)
) STRICT;
CREATE TABLE IF NOT EXISTS flexible_devices (
  account INTEGER NOT NULL, device INTEGER NOT NULL, lowest_w INTEGER NOT NULL, highest_w INTEGER NOT NULL,
  PRIMARY KEY (account, device)
) STRICT;
CREATE TABLE IF NOT EXISTS quotes (
  name TEXT PRIMARY KEY, value INTEGER NOT NULL, at_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS marks (
  name TEXT PRIMARY KEY, value INTEGER NOT NULL
) STRICT;
"""
