#include "node.h"

#include <string.h>

#include "sha256.h"

#define VERSION 1u
#define UP_BYTES 14u
#define DOWN_BYTES 10u
#define TAG_BYTES 16u
#define LEASE_BYTES 20u
#define REPEAT_MS 1000u
#define HELLO_MS 5000u          /* while nobody answers */
#define SILENCE_MS 5000u
#define CLOCK_GOOD_MS 3600000u  /* after an hour without TIME the clock is informative only */
#define COMMAND_AGE_MS 60000u   /* a set-point held back longer is refused */
#define VALID_LIMIT_MS 900000u  /* no set-point outlives a market interval */
#define TRIAL_MS 600000u        /* new firmware that nobody confirms goes */

enum { HELLO = 0x01, READING = 0x03, REPORT = 0x05, UPDATE_REPLY = 0x06, LOG = 0x07 };
enum { TIME = 0x82, ACK = 0x84, CMD = 0x85, UPDATE = 0x86 };
enum { QUERY = 0, ENVELOPE, CHUNK, COMPLETE, SWITCH, CONFIRM, ROLLBACK };

/* --- up --------------------------------------------------------------------------------------------------------- */

static size_t up_header(const node *self, uint8_t *frame, uint8_t type, uint64_t uptime_ms) {
    frame[0] = type;
    frame[1] = VERSION;
    put_le(frame + 2, self->epoch, 4);
    put_le(frame + 6, uptime_ms, 8);
    return UP_BYTES;
}

static void send_signed(node *self, uint8_t *frame, size_t count) {
    uint8_t digest[SHA256_BYTES], wire[FRAME_WIRE_LIMIT];
    sha256 hash;
    sha256_begin(&hash);
    sha256_add(&hash, "energy-grid/node/1", 18);
    sha256_add(&hash, frame, count);
    sha256_end(&hash, digest);
    if (!self->port->sign(self->port->context, digest, frame + count)) return;
    count = frame_wrap(frame, count + SIGNATURE_BYTES, wire);
    self->port->send(self->port->context, wire, count);
}

static void send_hello(node *self) {
    uint8_t frame[FRAME_LIMIT];
    const update_trust *trust = &self->identity->trust;
    uint8_t *at = frame + up_header(self, frame, HELLO, self->now_ms);
    put_le(at, self->heard, 4);
    put_le(at + 4, self->update.floor, 8);
    at[12] = self->update.stage;
    at[13] = (uint8_t)((self->is_faulty ? 1u : 0u) | (self->on_trial ? 2u : 0u));
    memcpy(at + 14, trust->vendor_id, 16);
    memcpy(at + 30, trust->class_id, 16);
    memcpy(at + 46, trust->device_id, 16);
    memcpy(at + 62, self->identity->serial, 16);
    memcpy(at + 78, self->identity->version, 16);
    memcpy(at + 94, self->identity->public_key, PUBLIC_BYTES);
    self->hello_at_ms = self->now_ms;
    self->wants_hello = false;
    send_signed(self, frame, UP_BYTES + 94 + PUBLIC_BYTES);
}

static bool is_linked(const node *self) { return self->is_heard && self->now_ms - self->heard_at_ms < SILENCE_MS; }

/* A reading gets its date when it is first sent and keeps it, so that one number never has two contents. */
static void dated(const node *self, node_reading *reading) {
    int64_t at_ms = (int64_t)reading->uptime_ms + self->clock_offset_ms;
    reading->status = self->clock;
    reading->taken_at_s = self->clock == CLOCK_U || at_ms < 0 ? 0 : (uint64_t)at_ms / 1000u;
    if (self->clock == CLOCK_S && reading->uptime_ms < self->clock_since_ms) reading->status = CLOCK_R;
    if (self->clock == CLOCK_S && self->now_ms - self->time_at_ms > CLOCK_GOOD_MS) reading->status = CLOCK_I;
    reading->is_dated = true;
}

static void send_oldest(node *self) {
    uint8_t frame[FRAME_LIMIT], *at;
    node_reading *reading = &self->ring[self->ring_at];
    const node_values *v = &reading->values;
    if (self->ring_count == 0 || !self->is_timed) return;
    if (!reading->is_dated) dated(self, reading);
    at = frame + up_header(self, frame, READING, reading->uptime_ms);
    put_le(at, reading->sequence, 8);
    put_le(at + 8, reading->taken_at_s, 8);
    at[16] = reading->status;
    at[17] = 0;
    put_le(at + 18, v->present, 2);
    put_le(at + 20, v->import_wh, 8);
    put_le(at + 28, v->export_wh, 8);
    put_le(at + 36, (uint32_t)v->power_w, 4);
    put_le(at + 40, (uint32_t)v->reactive_var, 4);
    for (unsigned i = 0; i < 3; i++) {
        put_le(at + 44 + 4 * i, v->voltage_mv[i], 4);
        put_le(at + 56 + 4 * i, v->current_ma[i], 4);
    }
    put_le(at + 68, v->frequency_mhz, 4);
    put_le(at + 72, reading->command, 4);
    put_le(at + 76, reading->dropped, 4);
    self->sent_at_ms = self->now_ms;
    send_signed(self, frame, UP_BYTES + 80);
}

static void send_report(node *self) {
    uint8_t frame[FRAME_LIMIT];
    uint8_t *at = frame + up_header(self, frame, REPORT, self->now_ms);
    put_le(at, self->last_number, 4);
    at[4] = self->last_outcome;
    send_signed(self, frame, UP_BYTES + 5);
}

static void send_reply(node *self, uint8_t step, update_refusal refusal) {
    uint8_t frame[FRAME_LIMIT];
    uint8_t *at = frame + up_header(self, frame, UPDATE_REPLY, self->now_ms);
    at[0] = step;
    at[1] = (uint8_t)refusal;
    at[2] = self->update.stage;
    at[3] = self->update.active;
    put_le(at + 4, self->update.floor, 8);
    put_le(at + 12, update_candidate(&self->update), 8);
    put_le(at + 20, self->update.received, 4);
    put_le(at + 24, self->envelope_held, 2);
    send_signed(self, frame, UP_BYTES + 26);
}

void node_log(node *self, uint8_t level, const char *text) {
    uint8_t frame[FRAME_LIMIT];
    uint8_t *at = frame + up_header(self, frame, LOG, self->now_ms);
    size_t count = 0;
    while (count < NODE_LOG_BYTES && text[count] != 0) count++;
    put_le(at, ++self->log_number, 4);
    at[4] = level;
    memcpy(at + 5, text, count);
    send_signed(self, frame, UP_BYTES + 5 + count);
}

/* --- down ------------------------------------------------------------------------------------------------------- */

static void take_time(node *self, const uint8_t *body, size_t count) {
    uint64_t unix_ms = count == 9 ? get_le(body, 8) : 0;
    if (count != 9 || unix_ms >> 62 != 0 || memchr("UISR", body[8], 4) == NULL) {
        self->refused++;
        return;
    }
    if (self->clock != body[8]) self->clock_since_ms = self->now_ms;
    self->clock = body[8];
    self->clock_offset_ms = (int64_t)unix_ms - (int64_t)self->now_ms;
    self->time_at_ms = self->now_ms;
    if (!self->is_timed) {
        self->is_timed = true;
        send_oldest(self);
    }
}

static void take_ack(node *self, const uint8_t *body, size_t count) {
    if (count != 8) {
        self->refused++;
    } else if (self->ring_count > 0 && self->ring[self->ring_at].is_dated &&
               self->ring[self->ring_at].sequence == get_le(body, 8)) {
        self->ring_at = (self->ring_at + 1) % NODE_RING;
        self->ring_count--;
        send_oldest(self);
    }
}

static void released(node *self) {
    self->command = 0;
    self->port->apply(self->port->context, SET_RELEASE, 0);
}

static outcome commanded(node *self, const uint8_t *body) {
    uint8_t kind = body[4];
    int32_t value = (int32_t)(uint32_t)get_le(body + 5, 4);
    uint64_t heard_ms = get_le(body + 9, 8), valid_ms = get_le(body + 17, 4);
    const node_identity *own = self->identity;
    if (heard_ms > self->now_ms || self->now_ms - heard_ms > COMMAND_AGE_MS) return STALE;
    if (kind > SET_LIMIT_W) return UNKNOWN_KIND;
    if (valid_ms > VALID_LIMIT_MS) return OUT_OF_RANGE;
    if (kind == SET_POWER_W && (value < own->min_w || value > own->max_w)) return OUT_OF_RANGE;
    if (kind == SET_LIMIT_W && (value < 0 || value > -own->min_w)) return OUT_OF_RANGE;
    if (heard_ms + valid_ms <= self->now_ms) return COMMAND_EXPIRED;
    if (kind == SET_RELEASE) {
        released(self);
        return APPLIED;
    }
    if (!self->port->apply(self->port->context, (set_point)kind, value)) {
        released(self);
        return DEVICE_FAILED;
    }
    self->command = (uint32_t)get_le(body, 4);
    self->command_ends_ms = heard_ms + valid_ms;
    return APPLIED;
}

static void take_command(node *self, const uint8_t *body, size_t count) {
    if (count != 21 || get_le(body, 4) == 0) {
        self->refused++;
        return;
    }
    if (get_le(body, 4) != self->last_number) {
        self->last_outcome = (uint8_t)commanded(self, body);
        self->last_number = (uint32_t)get_le(body, 4);
    }
    send_report(self);
}

static uint64_t now_s(const node *self) {
    int64_t at_ms = (int64_t)self->now_ms + self->clock_offset_ms;
    return self->clock == CLOCK_U || at_ms < 0 ? 0 : (uint64_t)at_ms / 1000u;
}

static update_refusal take_envelope(node *self, const uint8_t *body, size_t count) {
    size_t offset, total, part = count - 5;
    if (count <= 5) return MALFORMED;
    offset = (size_t)get_le(body + 1, 2);
    total = (size_t)get_le(body + 3, 2);
    if (total > ENVELOPE_LIMIT || offset + part > total) return MALFORMED;
    if (offset == 0) self->envelope_held = 0;
    if (offset != self->envelope_held) return WRONG_OFFSET;
    memcpy(self->envelope + offset, body + 5, part);
    self->envelope_held += part;
    return self->envelope_held < total ? TAKEN : update_begin(&self->update, self->envelope, total, now_s(self));
}

static void take_update(node *self, const uint8_t *body, size_t count) {
    update_refusal refusal = TAKEN;
    updater *update = &self->update;
    uint8_t step = count > 0 ? body[0] : UINT8_MAX;
    switch (step) {
    case QUERY: break;
    case ENVELOPE: refusal = take_envelope(self, body, count); break;
    case CHUNK:
        refusal = count > 5 ? update_receive(update, (uint32_t)get_le(body + 1, 4), body + 5, count - 5) : MALFORMED;
        break;
    case COMPLETE: refusal = update_complete(update); break;
    case SWITCH: refusal = update_switch(update, now_s(self)); break;
    case CONFIRM: refusal = self->on_trial ? update_confirm(update) : WRONG_STAGE; break;
    case ROLLBACK: refusal = update_rollback(update); break;
    default: self->refused++; return;
    }
    if (step == CONFIRM && refusal == TAKEN) self->on_trial = false;
    send_reply(self, step, refusal);
    if ((step == SWITCH || step == ROLLBACK) && refusal == TAKEN) self->port->restart(self->port->context);
}

static bool is_ours(const node *self, const uint8_t *frame, size_t count) {
    uint8_t tag[SHA256_BYTES], differs = 0;
    hmac256 mac;
    if (!self->is_born || count < DOWN_BYTES + TAG_BYTES || frame[1] != VERSION) return false;
    if (get_le(frame + 2, 4) != self->epoch) return false;
    hmac256_begin(&mac, self->identity->link_key, sizeof self->identity->link_key);
    hmac256_add(&mac, frame, count - TAG_BYTES);
    hmac256_end(&mac, tag);
    for (unsigned i = 0; i < TAG_BYTES; i++) differs |= (uint8_t)(tag[i] ^ frame[count - TAG_BYTES + i]);
    return differs == 0;
}

static void take_frame(node *self, const uint8_t *frame, size_t count) {
    uint32_t counter;
    const uint8_t *body = frame + DOWN_BYTES;
    if (!is_ours(self, frame, count)) {
        self->refused++;
        return;
    }
    counter = (uint32_t)get_le(frame + 6, 4);
    if (counter <= self->heard) {
        /* A gateway that began anew does not know our counter: HELLO tells it. A replayed frame gets the same. */
        self->refused++;
        self->wants_hello = true;
        return;
    }
    self->heard = counter;
    self->is_heard = true;
    self->heard_at_ms = self->now_ms;
    count -= DOWN_BYTES + TAG_BYTES;
    switch (frame[0]) {
    case TIME: take_time(self, body, count); break;
    case ACK: take_ack(self, body, count); break;
    case CMD: take_command(self, body, count); break;
    case UPDATE: take_update(self, body, count); break;
    default: self->refused++;
    }
}

void node_receive(node *self, const uint8_t *bytes, size_t count, uint64_t uptime_ms) {
    size_t frame;
    self->now_ms = uptime_ms;
    for (size_t i = 0; i < count; i++) {
        if (frame_byte(&self->reader, bytes[i], &frame)) take_frame(self, self->reader.bytes, frame);
    }
}

/* --- numbers ---------------------------------------------------------------------------------------------------- */

/* Written ahead: numbers up to lease_end may be used, and are never used again after a restart. */
static bool leased(node *self, uint64_t lease_end) {
    uint8_t record[LEASE_BYTES];
    put_le(record, self->lease_generation + 1, 4);
    put_le(record + 4, self->epoch, 4);
    put_le(record + 8, lease_end, 8);
    put_le(record + 16, crc32c(record, 16), 4);
    self->is_faulty = !self->port->store.write_record(
        self->port->store.context, RECORD_LEASE + (self->lease_generation + 1) % 2, record, sizeof record);
    if (self->is_faulty) return false;
    self->lease_generation++;
    self->lease_end = lease_end;
    self->is_born = true;
    return true;
}

static bool first_lease(node *self) {
    bool found = false;
    unsigned written = 0;
    for (unsigned copy = 0; copy < 2; copy++) {
        uint8_t record[LEASE_BYTES];
        const storage *store = &self->port->store;
        size_t count = store->read_record(store->context, RECORD_LEASE + copy, record, sizeof record);
        written += count > 0;
        if (count != sizeof record || crc32c(record, 16) != get_le(record + 16, 4)) continue;
        if (found && get_le(record, 4) <= self->lease_generation) continue;
        found = true;
        self->lease_generation = (uint32_t)get_le(record, 4);
        self->epoch = (uint32_t)get_le(record + 4, 4);
        self->lease_end = get_le(record + 8, 8);
    }
    /* Two copies that cannot be read: which numbers were used is not known, so that none is used again. One is the torn
       first write of a new node, which uses no number before both copies have been written. */
    self->is_faulty = !found && written == 2;
    if (self->is_faulty || (!found && !leased(self, 0))) return false;
    self->is_born = false;
    self->epoch++;
    self->sequence = self->lease_end;
    return leased(self, self->lease_end + NODE_LEASE);
}

bool node_start(node *self, const node_identity *identity, const node_port *port, unsigned slot) {
    memset(self, 0, sizeof *self);
    self->identity = identity;
    self->port = port;
    self->clock = CLOCK_U;
    self->wants_hello = true;
    update_open(&self->update, &port->store, &identity->trust);
    self->on_trial = self->update.stage == TRIAL && slot != self->update.active;
    port->apply(port->context, SET_RELEASE, 0);
    return first_lease(self);
}

bool node_measure(node *self, const node_values *values, uint64_t uptime_ms) {
    node_reading *reading;
    self->now_ms = uptime_ms;
    if (self->lease_end == 0 || (self->sequence >= self->lease_end && !leased(self, self->lease_end + NODE_LEASE))) {
        self->dropped++;
        return false;
    }
    if (self->ring_count == NODE_RING) {
        self->ring_at = (self->ring_at + 1) % NODE_RING;
        self->ring_count--;
        self->dropped++;
    }
    reading = &self->ring[(self->ring_at + self->ring_count++) % NODE_RING];
    memset(reading, 0, sizeof *reading);
    reading->values = *values;
    reading->sequence = ++self->sequence;
    reading->uptime_ms = uptime_ms;
    reading->command = self->command;
    reading->dropped = self->dropped;
    if (self->ring_count == 1) send_oldest(self);
    return true;
}

void node_tick(node *self, uint64_t uptime_ms) {
    self->now_ms = uptime_ms;
    if (self->command != 0 && uptime_ms >= self->command_ends_ms) {
        released(self);
        node_log(self, 5, "set-point expired, safe state");
    }
    if (self->on_trial && uptime_ms > TRIAL_MS) {
        self->on_trial = false;
        if (update_rollback(&self->update) == TAKEN) self->port->restart(self->port->context);
    }
    if ((self->wants_hello && (uptime_ms - self->hello_at_ms > REPEAT_MS || self->hello_at_ms == 0)) ||
        (!is_linked(self) && uptime_ms - self->hello_at_ms > HELLO_MS)) {
        send_hello(self);
    }
    if (uptime_ms - self->sent_at_ms > (is_linked(self) ? REPEAT_MS : HELLO_MS)) send_oldest(self);
}
