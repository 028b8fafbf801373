/* A metering node: signs readings, keeps them until they are acknowledged, obeys set-points that end by themselves.

   No heap, no operating system, no global state: everything is in `node`, everything outside is behind `node_port`.
   The port calls node_start once, node_receive with what came in, node_measure with what was measured and node_tick
   at least ten times a second. Bytes and rules stand in NODE.md. */
#ifndef EG_NODE_H
#define EG_NODE_H

#include "frame.h"
#include "secp256k1.h"
#include "storage.h"
#include "update.h"

/* About an hour of readings a minute, or a minute at 1 Hz: 7 kB. Registers are cumulative, so that a reading which
   has to be given up costs resolution and no energy. */
#define NODE_RING 64u
/* Flash is written once in so many readings; at most so many numbers are skipped by a restart. */
#define NODE_LEASE 1000u
#define NODE_VALUES 11u
#define NODE_LOG_BYTES 96u

typedef enum { CLOCK_U = 'U', CLOCK_I = 'I', CLOCK_S = 'S', CLOCK_R = 'R' } clock_status;
typedef enum { SET_RELEASE = 0, SET_POWER_W = 1, SET_LIMIT_W = 2 } set_point;
typedef enum { APPLIED = 0, STALE, OUT_OF_RANGE, UNKNOWN_KIND, COMMAND_EXPIRED, DEVICE_FAILED } outcome;

typedef struct {
    update_trust trust; /* who we are and whose firmware we take */
    char serial[16], version[16];
    uint8_t public_key[PUBLIC_BYTES];
    uint8_t link_key[32];   /* secp256k1_shared of our key and the gateway's */
    int32_t min_w, max_w;   /* what no command may exceed */
} node_identity;

typedef struct {
    void *context;
    storage store;
    /* With the node's own key; a secure element may stand behind it. */
    bool (*sign)(void *context, const uint8_t digest[32], uint8_t signature[SIGNATURE_BYTES]);
    void (*send)(void *context, const uint8_t *bytes, size_t count);
    /* SET_RELEASE is the safe state: the device's own control governs. */
    bool (*apply)(void *context, set_point kind, int32_t value);
    /* After what was sent has left; begins again at the boot loader. */
    void (*restart)(void *context);
} node_port;

/* In the order of a READING; bit n of `present` says that value n is there. Positive power flows into the home. */
typedef struct {
    uint16_t present;
    uint64_t import_wh, export_wh;
    int32_t power_w, reactive_var;
    uint32_t voltage_mv[3], current_ma[3], frequency_mhz;
} node_values;

typedef struct {
    node_values values;
    uint64_t sequence, uptime_ms, taken_at_s;
    uint32_t command, dropped;
    uint8_t status;
    bool is_dated; /* sent once: from then on not a bit of it changes */
} node_reading;

typedef struct {
    const node_identity *identity;
    const node_port *port;
    updater update;
    frame_reader reader;
    node_reading ring[NODE_RING];
    unsigned ring_at, ring_count;
    uint64_t sequence, lease_end, now_ms;
    uint32_t lease_generation, epoch, heard, dropped, log_number, refused;
    uint64_t heard_at_ms, hello_at_ms, sent_at_ms, time_at_ms, clock_since_ms;
    int64_t clock_offset_ms;
    uint8_t clock;
    bool is_born; /* this boot's epoch is durable; before that nothing is obeyed */
    bool is_heard, is_timed, is_faulty, wants_hello, on_trial;
    uint32_t command, last_number;
    uint8_t last_outcome;
    uint64_t command_ends_ms;
    uint8_t envelope[ENVELOPE_LIMIT];
    size_t envelope_held;
} node;

/* `slot` is the one update_boot chose. False where the storage is damaged: then nothing is ever signed as a reading. */
bool node_start(node *self, const node_identity *identity, const node_port *port, unsigned slot);
void node_receive(node *self, const uint8_t *bytes, size_t count, uint64_t uptime_ms);
/* False where no number could be leased: the reading is lost and counted. */
bool node_measure(node *self, const node_values *values, uint64_t uptime_ms);
void node_tick(node *self, uint64_t uptime_ms);
void node_log(node *self, uint8_t level, const char *text);

#endif
