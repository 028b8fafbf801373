#include "frame.h"

uint64_t get_le(const uint8_t *from, unsigned width) {
    uint64_t value = 0;
    while (width-- > 0) value = value << 8 | from[width];
    return value;
}

void put_le(uint8_t *to, uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; i++, value >>= 8) to[i] = (uint8_t)value;
}

/* Reflected polynomial 0x82F63B78, start and final exclusive-or all ones. Bit by bit: 512 bytes take 50 us at 80 MHz,
   less than the wire, and a table would take 1 kB. */
uint32_t crc32c(const uint8_t *bytes, size_t count) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

size_t cobs_encode(const uint8_t *from, size_t count, uint8_t to[FRAME_WIRE_LIMIT]) {
    size_t at = 1, mark = 0;
    if (count > FRAME_LIMIT) return 0;
    for (size_t i = 0; i < count; i++) {
        if (at - mark == 255) {
            to[mark] = 255;
            mark = at++;
        }
        if (from[i] == 0) {
            to[mark] = (uint8_t)(at - mark);
            mark = at++;
        } else {
            to[at++] = from[i];
        }
    }
    to[mark] = (uint8_t)(at - mark);
    return at;
}

size_t cobs_decode(const uint8_t *from, size_t count, uint8_t *to) {
    size_t at = 0, out = 0;
    while (at < count) {
        size_t run = from[at++];
        if (run == 0 || run - 1 > count - at) return 0;
        for (size_t i = 1; i < run; i++) {
            if (from[at] == 0) return 0;
            to[out++] = from[at++];
        }
        if (run < 255 && at < count) to[out++] = 0;
    }
    return out;
}

bool frame_byte(frame_reader *reader, uint8_t byte, size_t *count) {
    if (byte != 0) {
        if (reader->count < FRAME_WIRE_LIMIT - 1) {
            reader->bytes[reader->count++] = byte;
        } else {
            reader->overlong = true;
        }
        return false;
    }
    size_t encoded = reader->count, decoded;
    bool overlong = reader->overlong;
    reader->count = 0;
    reader->overlong = false;
    if (encoded == 0) return false;
    decoded = overlong ? 0 : cobs_decode(reader->bytes, encoded, reader->bytes);
    if (decoded <= CRC_BYTES ||
        crc32c(reader->bytes, decoded - CRC_BYTES) != get_le(reader->bytes + decoded - CRC_BYTES, CRC_BYTES)) {
        reader->refused++;
        return false;
    }
    *count = decoded - CRC_BYTES;
    return true;
}

size_t frame_wrap(uint8_t *frame, size_t count, uint8_t to[FRAME_WIRE_LIMIT]) {
    size_t encoded;
    put_le(frame + count, crc32c(frame, count), CRC_BYTES);
    encoded = cobs_encode(frame, count + CRC_BYTES, to);
    if (encoded == 0) return 0;
    to[encoded] = 0;
    return encoded + 1;
}
