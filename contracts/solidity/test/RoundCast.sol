// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyTrading} from "../src/EnergyTrading.sol";
import {Challenge} from "../src/challenges/Challenge.sol";
import {AuctionProof, SlotProof} from "../src/challenges/Proofs.sol";
import {RoundChallenges} from "../src/challenges/RoundChallenges.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Grove} from "./Grove.sol";

/// @dev Ada buys in an hour that is far away; what she places on chain is for quarter-hours.
abstract contract RoundCast is Grove {
    uint64 internal constant HOUR = (FIRST + 400) * 1024 + 4;
    uint32 internal constant FORCED = 1 << 31;
    uint64 internal constant DELAY_S = 60;
    bytes4 internal constant FINE = Challenge.NothingIsWrong.selector;
    bytes4 internal constant ELSEWHERE = Challenge.NotInTree.selector;
    bytes4 internal constant FORGED = Challenge.WrongEvidence.selector;
    bytes4 internal constant STRANGERS = Challenge.WrongNeighbours.selector;

    RoundChallenges internal rounds;
    EnergyTrading internal trading;

    function setUp() public virtual override {
        deploy(terms());
        rounds = new RoundChallenges(settlement);
        plant([COURT, address(rounds), address(0x72), address(0x73)]);
    }

    function trade() internal {
        trading = new EnergyTrading(settlement, 300, DELAY_S, 3_600, 0, 0, IMPORT);
        token.approve(address(trading), 1e9);
        trading.fund(ADA_ACCOUNT, 1e9);
        VM.prank(GOVERNANCE);
        settlement.setTrading(address(trading));
    }

    // What the honest operator publishes.

    /// @dev Ada's bid of 500 Wh, of which the rounds before filled `before` and this one `fill`.
    function slotsOf(uint64 product, uint32 version, uint64 before, uint64 fill)
        internal
        pure
        returns (Messages.Slot[] memory slots)
    {
        slots = new Messages.Slot[](3);
        Messages.Slot memory slot = slots[ADA_ACCOUNT];
        (slot.account, slot.product, slot.version) = (ADA_ACCOUNT, product, version);
        (slot.quantityWh, slot.limitPrice, slot.expiryS) = (500, 200, type(uint40).max);
        (slot.filledBeforeWh, slot.fillWh) = (before, fill);
        slot.positionWh = int64(before + fill);
        slot.positionCostNano = int128(slot.positionWh) * PRICE;
        slot.signatureHash = keccak256("signature");
    }

    function retiredOf(uint64 product, uint32 version) internal pure returns (Messages.Slot[] memory slots) {
        slots = new Messages.Slot[](3);
        (slots[ADA_ACCOUNT].account, slots[ADA_ACCOUNT].product) = (ADA_ACCOUNT, product);
        slots[ADA_ACCOUNT].version = version;
    }

    function noSlots() internal pure returns (Messages.Slot[] memory) {
        return new Messages.Slot[](3);
    }

    function spot() internal view returns (Messages.Auction memory) {
        return auctionOf(1025, 0xFFFF, 1, 0, noSlots());
    }

    function listOf(Messages.Auction memory one) internal view returns (Messages.Auction[] memory list) {
        list = new Messages.Auction[](2);
        (list[0], list[1]) = (spot(), one);
    }

    function listOf(Messages.Auction memory one, Messages.Auction memory two)
        internal
        view
        returns (Messages.Auction[] memory list)
    {
        list = new Messages.Auction[](3);
        (list[0], list[1], list[2]) = (spot(), one, two);
    }

    function nobody() internal pure returns (SlotProof memory slot) {}

    function win(bytes memory input, uint256 index, ISettlement.Lie lie, uint8 fault) internal {
        assertVoid(address(rounds), input, index, lie, fault);
    }

    function lose(bytes memory input, bytes4 why) internal {
        assertRefused(address(rounds), input, why);
    }

    // The calls.

    function fork(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        uint256 place,
        ISettlement.HeaderProof memory otherProof,
        Messages.Auction[] memory otherList,
        uint256 otherPlace
    ) internal view returns (bytes memory) {
        return abi.encodeCall(
            rounds.challengeFork, (proof, proofOf(list, place), otherProof, proofOf(otherList, otherPlace))
        );
    }

    function chain(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        uint256 place,
        Messages.Auction memory before
    ) internal view returns (bytes memory) {
        return abi.encodeCall(rounds.challengeRound, (proof, proofOf(list, place), before));
    }

    function withdrawn(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        uint256 place,
        SlotProof memory slot
    ) internal view returns (bytes memory) {
        return abi.encodeCall(rounds.challengeWithdrawn, (proof, proofOf(list, place), slot));
    }

    function retired(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        uint256 place,
        SlotProof memory slot,
        Messages.Bid memory bid
    ) internal view returns (bytes memory) {
        return abi.encodeCall(rounds.challengeRetired, (proof, proofOf(list, place), slot, bid));
    }

    function promised(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        uint256 place,
        SlotProof memory slot,
        Messages.Receipt memory receipt,
        bytes memory signature
    ) internal view returns (bytes memory) {
        return abi.encodeCall(rounds.challengeReceipt, (proof, proofOf(list, place), slot, receipt, signature));
    }

    function close(
        ISettlement.HeaderProof memory proof,
        AuctionProof memory last,
        AuctionProof memory next,
        ISettlement.HeaderProof memory earlierProof,
        AuctionProof memory earlier,
        SlotProof memory slot
    ) internal view returns (bytes memory) {
        return abi.encodeCall(rounds.challengeClosing, (proof, last, next, earlierProof, earlier, slot));
    }

    function carry(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        Messages.Slot[] memory slots,
        Messages.Auction memory before,
        SlotProof memory slotBefore
    ) internal view returns (bytes memory) {
        return abi.encodeCall(
            rounds.challengeCarry,
            (proof, proofOf(list, 1), proofOf(slots, list[1], ADA_ACCOUNT), before, slotBefore, ADA_ACCOUNT)
        );
    }
}
