/* Frames on the wire: COBS between zero bytes, CRC-32C at the end, at most 512 bytes; little-endian fields. */
#ifndef EG_FRAME_H
#define EG_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What stands on the wire between two delimiters, one delimiter included. A frame fits a small UART buffer. */
#define FRAME_WIRE_LIMIT 512u
/* COBS adds one byte per 254 begun, and the delimiter one. */
#define FRAME_LIMIT (FRAME_WIRE_LIMIT - 4u)
#define CRC_BYTES 4u

uint32_t crc32c(const uint8_t *bytes, size_t count);

/* Encoded length without delimiter; `to` holds FRAME_WIRE_LIMIT. 0 where `count` is over FRAME_LIMIT. */
size_t cobs_encode(const uint8_t *from, size_t count, uint8_t to[FRAME_WIRE_LIMIT]);
/* Decoded length; in place is allowed. 0 for anything that no encoder makes. */
size_t cobs_decode(const uint8_t *from, size_t count, uint8_t *to);

/* Collects bytes until a frame is whole; what is too long or torn is dropped up to the next delimiter. */
typedef struct {
    uint8_t bytes[FRAME_WIRE_LIMIT];
    size_t count;
    bool overlong;
    uint32_t refused;
} frame_reader;

/* True when `byte` ended a frame with a right checksum: then reader->bytes[0 .. *count) is it, without checksum. */
bool frame_byte(frame_reader *reader, uint8_t byte, size_t *count);

/* Puts checksum and COBS around a frame; `frame` has room for 4 bytes more. Length with delimiter, 0 if too long. */
size_t frame_wrap(uint8_t *frame, size_t count, uint8_t to[FRAME_WIRE_LIMIT]);

uint64_t get_le(const uint8_t *from, unsigned width);
void put_le(uint8_t *to, uint64_t value, unsigned width);

#endif
