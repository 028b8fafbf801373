// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Commitments} from "../libraries/Commitments.sol";
import {Messages} from "../libraries/Messages.sol";
import {MeterRules} from "../libraries/MeterRules.sol";
import {Products} from "../libraries/Products.sol";
import {RoundRules} from "../libraries/RoundRules.sol";

/// @title The rules of rounds, meters and commitments as pure views, so that other implementations can be compared.
/// @notice Holds nothing and is trusted by nothing. Every view judges a list of cases; where `has…` is false, the leaf
/// or order beside it is absent and not looked at.
contract RuleLens {
    /// @notice Two neighbouring leaves of an auctions tree.
    struct OrderCase {
        uint256 index;
        bool hasFirst;
        Messages.Auction first;
        bool hasSecond;
        Messages.Auction second;
    }

    /// @notice An account's slot in a round at `price`, and in the round before.
    struct CarryCase {
        bool hasSlot;
        Messages.Slot slot;
        bool hasBefore;
        Messages.Slot before;
        int64 price;
        bool isWithdrawn;
    }

    /// @notice A receipt and the account's slot in an auction.
    struct ReceiptCase {
        Messages.Receipt receipt;
        Messages.Auction auction;
        bool hasSlot;
        Messages.Slot slot;
    }

    /// @notice An order on chain, and what the closing round of its product holds.
    struct ForcedCase {
        uint32 orderVersion;
        bool hasClosing;
        bool hasSlot;
        uint32 slotVersion;
    }

    /// @notice A slot of a spot round and the standing order behind it.
    struct StandingCase {
        Messages.Slot slot;
        bool hasOrder;
        Messages.StandingOrder order;
        bool isSigned;
        Messages.Header header;
        int256 settled;
    }

    /// @notice A meter leaf and the reading behind it.
    struct ReadingCase {
        Messages.MeterLeaf leaf;
        Messages.SettlementReading reading;
        int256 settled;
        bool isSigned;
    }

    /// @notice An account's meter leaf, and the one of the header before.
    struct RegisterCase {
        bool hasLeaf;
        Messages.MeterLeaf leaf;
        bool hasBefore;
        Messages.MeterLeaf before;
    }

    /// @notice A meter leaf and the slot of a closing round.
    struct ContractedCase {
        bool hasLeaf;
        Messages.MeterLeaf leaf;
        uint256 place;
        bool hasSlot;
        Messages.Slot slot;
    }

    /// @notice The slot of the last round of a product.
    struct OwedCase {
        bool hasSlot;
        Messages.Slot slot;
        uint64 product;
        bool isClosed;
        int64 tariffImport;
        int256 settled;
    }

    /// @notice What is wrong with two neighbouring leaves.
    function orderFaults(OrderCase[] calldata cases) external pure returns (RoundRules.OrderFault[] memory faults) {
        faults = new RoundRules.OrderFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            OrderCase calldata one = cases[i];
            faults[i] = RoundRules.orderFault(one.index, one.hasFirst, one.first, one.hasSecond, one.second);
        }
    }

    /// @notice What is wrong with each auction after the one before it.
    function roundFaults(Messages.Auction[] calldata auctions, Messages.Auction[] calldata before)
        external
        pure
        returns (RoundRules.RoundFault[] memory faults)
    {
        faults = new RoundRules.RoundFault[](auctions.length);
        for (uint256 i = 0; i < auctions.length; i++) {
            faults[i] = RoundRules.roundFault(auctions[i], before[i]);
        }
    }

    /// @notice Whether auctions at two leaves claim one place.
    function forkFaults(Messages.Auction[] calldata ones, Messages.Auction[] calldata others)
        external
        pure
        returns (RoundRules.ForkFault[] memory faults)
    {
        faults = new RoundRules.ForkFault[](ones.length);
        for (uint256 i = 0; i < ones.length; i++) {
            faults[i] = RoundRules.forkFault(ones[i], others[i]);
        }
    }

    /// @notice What is wrong with slots carried from one round to the next.
    function carryFaults(CarryCase[] calldata cases) external pure returns (RoundRules.CarryFault[] memory faults) {
        faults = new RoundRules.CarryFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            CarryCase calldata one = cases[i];
            faults[i] =
                RoundRules.carryFault(one.hasSlot, one.slot, one.hasBefore, one.before, one.price, one.isWithdrawn);
        }
    }

    /// @notice What is wrong with slots under receipts.
    function receiptFaults(ReceiptCase[] calldata cases)
        external
        pure
        returns (RoundRules.ReceiptFault[] memory faults)
    {
        faults = new RoundRules.ReceiptFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            ReceiptCase calldata one = cases[i];
            faults[i] = RoundRules.receiptFault(one.receipt, one.auction, one.hasSlot, one.slot);
        }
    }

    /// @notice What is wrong with closing rounds under orders placed on chain.
    function forcedFaults(ForcedCase[] calldata cases) external pure returns (RoundRules.ForcedFault[] memory faults) {
        faults = new RoundRules.ForcedFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            ForcedCase calldata one = cases[i];
            faults[i] = RoundRules.forcedFault(one.orderVersion, one.hasClosing, one.hasSlot, one.slotVersion);
        }
    }

    /// @notice What is wrong with the limits of spot slots.
    function standingFaults(StandingCase[] calldata cases)
        external
        pure
        returns (RoundRules.StandingFault[] memory faults)
    {
        faults = new RoundRules.StandingFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            StandingCase calldata one = cases[i];
            faults[i] =
                RoundRules.standingFault(one.slot, one.hasOrder, one.order, one.isSigned, one.header, one.settled);
        }
    }

    /// @notice What is wrong with meter leaves under their readings.
    function readingFaults(ReadingCase[] calldata cases)
        external
        pure
        returns (MeterRules.ReadingFault[] memory faults)
    {
        faults = new MeterRules.ReadingFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            ReadingCase calldata one = cases[i];
            faults[i] = MeterRules.readingFault(one.leaf, one.reading, one.settled, one.isSigned);
        }
    }

    /// @notice What is wrong with meter leaves after those before.
    function registerFaults(RegisterCase[] calldata cases)
        external
        pure
        returns (MeterRules.RegisterFault[] memory faults)
    {
        faults = new MeterRules.RegisterFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            RegisterCase calldata one = cases[i];
            faults[i] = MeterRules.registerFault(one.hasLeaf, one.leaf, one.hasBefore, one.before);
        }
    }

    /// @notice Whether meter leaves differ from the positions of the closing rounds.
    function contractedFaults(ContractedCase[] calldata cases)
        external
        pure
        returns (MeterRules.ContractedFault[] memory faults)
    {
        faults = new MeterRules.ContractedFault[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            ContractedCase calldata one = cases[i];
            faults[i] = MeterRules.contractedFault(one.hasLeaf, one.leaf, one.place, one.hasSlot, one.slot);
        }
    }

    /// @notice What the slots of last rounds leave open.
    function owedOfSlots(OwedCase[] calldata cases) external pure returns (Commitments.Owed[] memory owed) {
        owed = new Commitments.Owed[](cases.length);
        for (uint256 i = 0; i < cases.length; i++) {
            OwedCase calldata one = cases[i];
            owed[i] =
                Commitments.ofSlot(one.hasSlot, one.slot, one.product, one.isClosed, one.tariffImport, one.settled);
        }
    }

    /// @notice What commitments become in a header without a round of their product.
    function carried(Commitments.Commitment[] calldata before, bool[] calldata isClosed, int256 settled)
        external
        pure
        returns (Commitments.Owed[] memory owed)
    {
        owed = new Commitments.Owed[](before.length);
        for (uint256 i = 0; i < before.length; i++) {
            Commitments.Owed memory entry = Commitments.Owed(before[i].bidNano, before[i].intervalNano);
            owed[i] = Commitments.carried(entry, before[i].product, isClosed[i], settled);
        }
    }

    /// @notice What one opening shows of a product, and whether it shows anything.
    function opened(Commitments.Opening calldata opening, bytes32 committed, uint64 product)
        external
        pure
        returns (bool isShown, Commitments.Owed memory owed)
    {
        return Commitments.opened(opening, committed, product);
    }

    /// @notice Hash of a list of commitments, and what is wrong with a reserve under it.
    function reserveFault(uint128 reservedNano, Commitments.Commitment[] calldata list, int256 settled)
        external
        pure
        returns (bytes32 hash, Commitments.ReserveFault fault)
    {
        return (Commitments.hash(list), Commitments.reserveFault(reservedNano, list, settled));
    }

    /// @notice For each product: whether its length is one, when its gate closes, and what is not settled of it.
    function gates(uint64[] calldata products, uint64 gateLeads, int256 settled)
        external
        pure
        returns (bool[] memory isProduct, int256[] memory closing, uint256[] memory left)
    {
        isProduct = new bool[](products.length);
        closing = new int256[](products.length);
        left = new uint256[](products.length);
        for (uint256 i = 0; i < products.length; i++) {
            (isProduct[i], closing[i]) = Products.closingInterval(products[i], gateLeads);
            left[i] = Products.intervalsLeft(products[i], settled);
        }
    }

    /// @notice First interval of the product at `place` that delivers in each settled interval.
    function firstCovering(int256[] calldata settled, uint256 place) external pure returns (int256[] memory first) {
        first = new int256[](settled.length);
        for (uint256 i = 0; i < settled.length; i++) {
            first[i] = Products.firstCovering(settled[i], place);
        }
    }
}
