// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Every message that a party signs, and every leaf that a tree commits to.
/// @notice Generated from contracts/messages.py and contracts/leaves.py by `python -m contracts.artifacts`; a test
/// holds both languages together. Prices are micro-currency per kWh, costs nano-currency, energies Wh, times UTC
/// seconds. Numbers whose legal values are few (sides, rules) are plain integers here: a lie must be representable
/// to be refuted.
library Messages {
    /// @notice Cumulative registers of a meter at the end of `interval`; `chain_head` commits to the telemetry so far.
    struct SettlementReading {
        uint32 account;
        uint16 meter;
        uint32 epoch;
        uint64 sequence;
        uint64 interval;
        uint64 takenAtS;
        uint64 importWh;
        uint64 exportWh;
        uint16 flags;
        uint8 clock;
        bytes32 chainHead;
        bytes32 evidenceHash;
    }

    /// @notice Readings `first_sequence … +count-1` of one meter, hash-chained from `previous_head` to `head`.
    struct TelemetryBatch {
        uint32 account;
        uint16 meter;
        uint32 epoch;
        uint64 firstSequence;
        uint16 count;
        uint64 firstTakenAtS;
        uint64 lastTakenAtS;
        bytes32 previousHead;
        bytes32 head;
        bytes32 readingsRoot;
    }

    /// @notice One live order of an account for a product; a higher version replaces it, quantity 0 cancels it.
    struct Bid {
        uint32 account;
        uint64 product;
        uint32 version;
        uint8 side;
        uint64 quantityWh;
        int64 limitPrice;
        uint64 expiryS;
    }

    /// @notice Limits under which a home joins every spot round until `valid_until_s` (0: until replaced).
    struct StandingOrder {
        uint32 account;
        uint32 version;
        int64 maxBuyPrice;
        int64 minSellPrice;
        uint64 validFromS;
        uint64 validUntilS;
    }

    /// @notice The operator's promise that a bid takes part from `round` on, which clears at `clears_at_s`.
    struct Receipt {
        uint32 account;
        uint64 product;
        uint32 version;
        bytes32 bidHash;
        uint32 round;
        uint64 clearsAtS;
    }

    /// @notice The operator holds readings `first_sequence … last_sequence` of a stream durably; the home may forget
    /// them.
    struct Acknowledgement {
        uint32 account;
        uint16 meter;
        uint8 stream;
        uint32 epoch;
        uint64 firstSequence;
        uint64 lastSequence;
    }

    /// @notice An absolute, expiring command to one device of a home. `term` is the coordinator's fencing token.
    struct SetPoint {
        uint32 account;
        uint16 device;
        uint8 kind;
        uint32 term;
        uint64 sequence;
        uint64 issuedAtS;
        uint64 validUntilS;
        int32 powerW;
    }

    /// @notice What the home did with set-point `sequence`, and the power read back.
    struct SetPointReport {
        uint32 account;
        uint16 device;
        uint32 term;
        uint64 sequence;
        uint8 outcome;
        int32 powerW;
        uint64 takenAtS;
    }

    /// @notice The home says that readings of this range were dropped and why.
    struct GapRecord {
        uint32 account;
        uint16 meter;
        uint8 stream;
        uint32 epoch;
        uint64 firstSequence;
        uint64 lastSequence;
        uint8 reason;
        uint64 recordedAtS;
    }

    /// @notice The published result of one round of one product. `previous` is the struct hash of the round before, or
    /// 0.
    struct Auction {
        uint64 product;
        uint32 round;
        uint8 rule;
        uint64 clearedAtS;
        int64 price;
        int64 lo;
        int64 hi;
        uint32 loAccount;
        uint32 hiAccount;
        uint64 volumeWh;
        uint64 marginalWh;
        uint64 rationedWh;
        uint8 longSide;
        bytes32 slotsRoot;
        bytes32 previous;
    }

    /// @notice One interval of the market: all auctions cleared in it, and the settlement of the interval `grace`
    /// before.
    struct Header {
        uint64 interval;
        bytes32 previous;
        bytes32 auctionsRoot;
        bytes32 metersRoot;
        bytes32 balancesRoot;
        bytes32 dataHash;
        int64 tariffImport;
        int64 tariffExport;
        int64 spotPrice;
        uint64 volumeWh;
    }

    /// @notice The operator misses readings of this range: the home sends what it holds and says of the rest why it is
    /// gone.
    struct ReadingRequest {
        uint32 account;
        uint16 meter;
        uint8 stream;
        uint32 epoch;
        uint64 firstSequence;
        uint64 lastSequence;
        uint64 requestedAtS;
    }

    /// @notice One account in one auction: its newest bid, what of it was filled before and now, its position in the
    /// product.
    struct Slot {
        uint32 account;
        uint64 product;
        uint32 version;
        uint8 side;
        uint64 quantityWh;
        int64 limitPrice;
        uint64 expiryS;
        uint64 filledBeforeWh;
        uint64 fillWh;
        int64 positionWh;
        int128 positionCostNano;
        bytes32 signatureHash;
    }

    /// @notice What an account metered, had contracted and was ordered to do in one settled interval, and the
    /// deviation.
    struct MeterLeaf {
        uint32 account;
        uint64 importRegisterWh;
        uint64 exportRegisterWh;
        int64 quarterWh;
        int128 quarterCostNano;
        int64 hourWh;
        int128 hourCostNano;
        int64 dayWh;
        int128 dayCostNano;
        int64 weekWh;
        int128 weekCostNano;
        int64 orderedWh;
        int64 deviationWh;
        bytes32 readingHash;
    }

    /// @notice Result of all trading of an account since the beginning, and what is reserved for what it still owes.
    struct BalanceLeaf {
        uint32 account;
        int128 cumulativeNano;
        uint128 reservedNano;
        bytes32 commitmentsHash;
    }

    // EIP-712 type hashes.
    bytes32 internal constant SETTLEMENT_READING_TYPE_HASH = keccak256(
        "SettlementReading(uint32 account,uint16 meter,uint32 epoch,uint64 sequence,uint64 interval,uint64 takenAtS,uint64 importWh,uint64 exportWh,uint16 flags,uint8 clock,bytes32 chainHead,bytes32 evidenceHash)"
    );
    bytes32 internal constant TELEMETRY_BATCH_TYPE_HASH = keccak256(
        "TelemetryBatch(uint32 account,uint16 meter,uint32 epoch,uint64 firstSequence,uint16 count,uint64 firstTakenAtS,uint64 lastTakenAtS,bytes32 previousHead,bytes32 head,bytes32 readingsRoot)"
    );
    bytes32 internal constant BID_TYPE_HASH = keccak256(
        "Bid(uint32 account,uint64 product,uint32 version,uint8 side,uint64 quantityWh,int64 limitPrice,uint64 expiryS)"
    );
    bytes32 internal constant STANDING_ORDER_TYPE_HASH = keccak256(
        "StandingOrder(uint32 account,uint32 version,int64 maxBuyPrice,int64 minSellPrice,uint64 validFromS,uint64 validUntilS)"
    );
    bytes32 internal constant RECEIPT_TYPE_HASH = keccak256(
        "Receipt(uint32 account,uint64 product,uint32 version,bytes32 bidHash,uint32 round,uint64 clearsAtS)"
    );
    bytes32 internal constant ACKNOWLEDGEMENT_TYPE_HASH = keccak256(
        "Acknowledgement(uint32 account,uint16 meter,uint8 stream,uint32 epoch,uint64 firstSequence,uint64 lastSequence)"
    );
    bytes32 internal constant SET_POINT_TYPE_HASH = keccak256(
        "SetPoint(uint32 account,uint16 device,uint8 kind,uint32 term,uint64 sequence,uint64 issuedAtS,uint64 validUntilS,int32 powerW)"
    );
    bytes32 internal constant SET_POINT_REPORT_TYPE_HASH = keccak256(
        "SetPointReport(uint32 account,uint16 device,uint32 term,uint64 sequence,uint8 outcome,int32 powerW,uint64 takenAtS)"
    );
    bytes32 internal constant GAP_RECORD_TYPE_HASH = keccak256(
        "GapRecord(uint32 account,uint16 meter,uint8 stream,uint32 epoch,uint64 firstSequence,uint64 lastSequence,uint8 reason,uint64 recordedAtS)"
    );
    bytes32 internal constant AUCTION_TYPE_HASH = keccak256(
        "Auction(uint64 product,uint32 round,uint8 rule,uint64 clearedAtS,int64 price,int64 lo,int64 hi,uint32 loAccount,uint32 hiAccount,uint64 volumeWh,uint64 marginalWh,uint64 rationedWh,uint8 longSide,bytes32 slotsRoot,bytes32 previous)"
    );
    bytes32 internal constant HEADER_TYPE_HASH = keccak256(
        "Header(uint64 interval,bytes32 previous,bytes32 auctionsRoot,bytes32 metersRoot,bytes32 balancesRoot,bytes32 dataHash,int64 tariffImport,int64 tariffExport,int64 spotPrice,uint64 volumeWh)"
    );
    bytes32 internal constant READING_REQUEST_TYPE_HASH = keccak256(
        "ReadingRequest(uint32 account,uint16 meter,uint8 stream,uint32 epoch,uint64 firstSequence,uint64 lastSequence,uint64 requestedAtS)"
    );

    /// @notice EIP-712 struct hash of a SettlementReading.
    function hashStruct(SettlementReading memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(SETTLEMENT_READING_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a TelemetryBatch.
    function hashStruct(TelemetryBatch memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(TELEMETRY_BATCH_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a Bid.
    function hashStruct(Bid memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(BID_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a StandingOrder.
    function hashStruct(StandingOrder memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(STANDING_ORDER_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a Receipt.
    function hashStruct(Receipt memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a Acknowledgement.
    function hashStruct(Acknowledgement memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACKNOWLEDGEMENT_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a SetPoint.
    function hashStruct(SetPoint memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(SET_POINT_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a SetPointReport.
    function hashStruct(SetPointReport memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(SET_POINT_REPORT_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a GapRecord.
    function hashStruct(GapRecord memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(GAP_RECORD_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a Auction.
    function hashStruct(Auction memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(AUCTION_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a Header.
    function hashStruct(Header memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(HEADER_TYPE_HASH, message));
    }

    /// @notice EIP-712 struct hash of a ReadingRequest.
    function hashStruct(ReadingRequest memory message) internal pure returns (bytes32) {
        return keccak256(abi.encode(READING_REQUEST_TYPE_HASH, message));
    }

    /// @notice Length of a packed Slot.
    uint256 internal constant SLOT_BYTES = 113;

    /// @notice Length of a packed MeterLeaf.
    uint256 internal constant METER_LEAF_BYTES = 164;

    /// @notice Length of a packed BalanceLeaf.
    uint256 internal constant BALANCE_LEAF_BYTES = 68;

    /// @notice The canonical bytes of a Slot: every field big-endian in its own width.
    function pack(Slot memory leaf) internal pure returns (bytes memory) {
        return abi.encodePacked(
            leaf.account,
            leaf.product,
            leaf.version,
            leaf.side,
            leaf.quantityWh,
            leaf.limitPrice,
            leaf.expiryS,
            leaf.filledBeforeWh,
            leaf.fillWh,
            leaf.positionWh,
            leaf.positionCostNano,
            leaf.signatureHash
        );
    }

    /// @notice The canonical bytes of a MeterLeaf: every field big-endian in its own width.
    function pack(MeterLeaf memory leaf) internal pure returns (bytes memory) {
        return abi.encodePacked(
            leaf.account,
            leaf.importRegisterWh,
            leaf.exportRegisterWh,
            leaf.quarterWh,
            leaf.quarterCostNano,
            leaf.hourWh,
            leaf.hourCostNano,
            leaf.dayWh,
            leaf.dayCostNano,
            leaf.weekWh,
            leaf.weekCostNano,
            leaf.orderedWh,
            leaf.deviationWh,
            leaf.readingHash
        );
    }

    /// @notice The canonical bytes of a BalanceLeaf: every field big-endian in its own width.
    function pack(BalanceLeaf memory leaf) internal pure returns (bytes memory) {
        return abi.encodePacked(leaf.account, leaf.cumulativeNano, leaf.reservedNano, leaf.commitmentsHash);
    }

    /// @notice The Slot of those canonical bytes, 113 of them.
    function unpackSlot(bytes calldata packed) internal pure returns (Slot memory leaf) {
        leaf.account = uint32(bytes4(packed[0:4]));
        leaf.product = uint64(bytes8(packed[4:12]));
        leaf.version = uint32(bytes4(packed[12:16]));
        leaf.side = uint8(bytes1(packed[16:17]));
        leaf.quantityWh = uint64(bytes8(packed[17:25]));
        leaf.limitPrice = int64(uint64(bytes8(packed[25:33])));
        leaf.expiryS = uint64(bytes8(packed[33:41]));
        leaf.filledBeforeWh = uint64(bytes8(packed[41:49]));
        leaf.fillWh = uint64(bytes8(packed[49:57]));
        leaf.positionWh = int64(uint64(bytes8(packed[57:65])));
        leaf.positionCostNano = int128(uint128(bytes16(packed[65:81])));
        leaf.signatureHash = bytes32(packed[81:113]);
    }

    /// @notice The MeterLeaf of those canonical bytes, 164 of them.
    function unpackMeterLeaf(bytes calldata packed) internal pure returns (MeterLeaf memory leaf) {
        leaf.account = uint32(bytes4(packed[0:4]));
        leaf.importRegisterWh = uint64(bytes8(packed[4:12]));
        leaf.exportRegisterWh = uint64(bytes8(packed[12:20]));
        leaf.quarterWh = int64(uint64(bytes8(packed[20:28])));
        leaf.quarterCostNano = int128(uint128(bytes16(packed[28:44])));
        leaf.hourWh = int64(uint64(bytes8(packed[44:52])));
        leaf.hourCostNano = int128(uint128(bytes16(packed[52:68])));
        leaf.dayWh = int64(uint64(bytes8(packed[68:76])));
        leaf.dayCostNano = int128(uint128(bytes16(packed[76:92])));
        leaf.weekWh = int64(uint64(bytes8(packed[92:100])));
        leaf.weekCostNano = int128(uint128(bytes16(packed[100:116])));
        leaf.orderedWh = int64(uint64(bytes8(packed[116:124])));
        leaf.deviationWh = int64(uint64(bytes8(packed[124:132])));
        leaf.readingHash = bytes32(packed[132:164]);
    }

    /// @notice The BalanceLeaf of those canonical bytes, 68 of them.
    function unpackBalanceLeaf(bytes calldata packed) internal pure returns (BalanceLeaf memory leaf) {
        leaf.account = uint32(bytes4(packed[0:4]));
        leaf.cumulativeNano = int128(uint128(bytes16(packed[4:20])));
        leaf.reservedNano = uint128(bytes16(packed[20:36]));
        leaf.commitmentsHash = bytes32(packed[36:68]);
    }
}
