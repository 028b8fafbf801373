// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AuctionProof, BalanceProof, MeterProof, SlotProof} from "../src/challenges/Proofs.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Domain} from "../src/libraries/Domain.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";

/// @dev What the test runner offers for looking at one world several times.
interface Rewind {
    function snapshotState() external returns (uint256 id);
    function revertToState(uint256 id) external returns (bool done);
    function expectEmit() external;
    function cool(address target) external;
}

/// @dev Trees of up to eight leaves at their left end, headers over them, and verdicts: what a challenge says. A full
/// grove has a sibling at every height above, so that a path is as long as it can be.
abstract contract Grove is Cast {
    Rewind private constant REWIND = Rewind(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant OPERATOR_KEY = 0x0E0001;
    uint32 internal constant ADA_ACCOUNT = 1;
    uint32 internal constant BO_ACCOUNT = 2;
    int64 internal constant PRICE = 120;
    /// @dev Who challenges, and never held a token before.
    address internal constant WATCHER = address(0x3A7C);
    uint256 private constant LEAVES = 8;

    bool internal isFull;

    /// @dev A won challenge, as a whole transaction.
    event Spent(uint256 gas);

    /// @dev A settlement in which `court` may void, and an operator who can sign.
    function plant(address[4] memory courts) internal {
        VM.startPrank(GOVERNANCE);
        settlement.setChallenges(courts);
        settlement.halt();
        settlement.restart(0, VM.addr(OPERATOR_KEY));
        VM.stopPrank();
    }

    /// @dev A header that continues the chain over these three trees.
    function grown(bytes32 auctionsRoot, bytes32 metersRoot, bytes32 balancesRoot)
        internal
        returns (ISettlement.HeaderProof memory)
    {
        Messages.Header memory header = nextHeader(balancesRoot);
        (header.auctionsRoot, header.metersRoot) = (auctionsRoot, metersRoot);
        if (block.timestamp < (uint256(header.interval) + 1) * 900) VM.warp((uint256(header.interval) + 1) * 900);
        VM.prank(VM.addr(OPERATOR_KEY));
        return ISettlement.HeaderProof(header, settlement.post(header));
    }

    /// @dev A header that only has auctions.
    function grown(Messages.Auction[] memory auctions) internal returns (ISettlement.HeaderProof memory) {
        return grown(rootOf(nodesOf(auctions), MerkleSum.AUCTIONS_DEPTH), emptyRoot(), emptyRoot());
    }

    /// @dev An auction over these slots, by account, which cleared within the next header.
    function auctionOf(uint64 product, uint32 round, uint8 rule, bytes32 previous, Messages.Slot[] memory slots)
        internal
        view
        returns (Messages.Auction memory auction)
    {
        uint64 interval = settlement.headerCount() == 0 ? FIRST : settlement.tipInterval() + 1;
        (auction.product, auction.round, auction.rule, auction.previous) = (product, round, rule, previous);
        auction.clearedAtS = interval * 900 + round % 900;
        (auction.price, auction.lo, auction.hi) = (PRICE, PRICE, PRICE);
        auction.longSide = 1;
        auction.slotsRoot = rootOf(nodesOf(slots, auction), MerkleSum.DEPTH);
    }

    /// @dev The leaf `index` of these auctions, empty where an auction has no product.
    function proofOf(Messages.Auction[] memory auctions, uint256 index) internal view returns (AuctionProof memory) {
        bytes memory path = pathTo(nodesOf(auctions), index, MerkleSum.AUCTIONS_DEPTH);
        Messages.Auction memory auction;
        if (index < auctions.length) auction = auctions[index];
        return AuctionProof(auction.product != 0, auction, index, path);
    }

    /// @dev The slot of an account among these, absent where it has no product.
    function proofOf(Messages.Slot[] memory slots, Messages.Auction memory auction, uint256 account)
        internal
        view
        returns (SlotProof memory)
    {
        bytes memory path = pathTo(nodesOf(slots, auction), account, MerkleSum.DEPTH);
        Messages.Slot memory slot;
        if (account < slots.length) slot = slots[account];
        return SlotProof(slot.product != 0, slot, path);
    }

    /// @dev The meter leaf of an account among these, absent where none names it.
    function proofOf(Messages.MeterLeaf[] memory leaves, uint256 account) internal view returns (MeterProof memory) {
        bytes memory path = pathTo(nodesOf(leaves), account, MerkleSum.DEPTH);
        Messages.MeterLeaf memory leaf;
        if (account < leaves.length) leaf = leaves[account];
        return MeterProof(leaf.account == account && account != 0, leaf, path);
    }

    /// @dev The balance leaf of an account among these, absent where it is all zero.
    function proofOf(Messages.BalanceLeaf[] memory leaves, uint256 account)
        internal
        view
        returns (BalanceProof memory)
    {
        bytes memory path = pathTo(nodesOf(leaves), account, MerkleSum.DEPTH);
        Messages.BalanceLeaf memory leaf;
        if (account < leaves.length) leaf = leaves[account];
        return BalanceProof(isThere(leaf), leaf, path);
    }

    function isThere(Messages.BalanceLeaf memory leaf) internal pure returns (bool) {
        return leaf.account != 0 || leaf.cumulativeNano != 0 || leaf.reservedNano != 0 || leaf.commitmentsHash != 0;
    }

    function nodesOf(Messages.Auction[] memory auctions) internal pure returns (MerkleSum.Node[] memory nodes) {
        nodes = new MerkleSum.Node[](LEAVES);
        for (uint256 i = 0; i < auctions.length; i++) {
            if (auctions[i].product != 0) nodes[i] = Leaves.node(auctions[i]);
        }
    }

    function nodesOf(Messages.Slot[] memory slots, Messages.Auction memory auction)
        internal
        pure
        returns (MerkleSum.Node[] memory nodes)
    {
        nodes = new MerkleSum.Node[](LEAVES);
        for (uint256 i = 0; i < slots.length; i++) {
            if (slots[i].product == 0) continue;
            nodes[i] = Leaves.node(slots[i], auction.price, auction.longSide, auction.clearedAtS);
        }
    }

    function nodesOf(Messages.MeterLeaf[] memory leaves) internal pure returns (MerkleSum.Node[] memory nodes) {
        nodes = new MerkleSum.Node[](LEAVES);
        for (uint256 i = 1; i < leaves.length; i++) {
            if (leaves[i].account == i) nodes[i] = Leaves.node(leaves[i]);
        }
    }

    function nodesOf(Messages.BalanceLeaf[] memory leaves) internal pure returns (MerkleSum.Node[] memory nodes) {
        nodes = new MerkleSum.Node[](LEAVES);
        for (uint256 i = 0; i < leaves.length; i++) {
            if (isThere(leaves[i])) nodes[i] = Leaves.node(leaves[i]);
        }
    }

    function rootOf(MerkleSum.Node[] memory leaves, uint256 depth) internal view returns (bytes32 root) {
        (root,) = _climb(leaves, 0, depth);
    }

    function pathTo(MerkleSum.Node[] memory leaves, uint256 index, uint256 depth) internal view returns (bytes memory) {
        (, MerkleSum.Node[] memory siblings) = _climb(leaves, index, depth);
        return pathOf(siblings);
    }

    function signedBy(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, Domain.digest(settlement.domainSeparator(), structHash));
        return abi.encodePacked(r, s, v);
    }

    /// @dev The challenge says that nothing follows, and why.
    function assertRefused(address court, bytes memory input, bytes4 expected) internal {
        uint256 before = settlement.headerCount();
        (bool done, bytes memory answer) = court.call(input);
        require(!done, "the challenge was won");
        require(bytes4(answer) == expected, "refused for another reason");
        assertEq(settlement.headerCount(), before);
    }

    /// @dev The challenge voids the header `index` for this lie, within the gas that a challenge may cost. The world is
    /// as before when this returns.
    function assertVoid(address court, bytes memory input, uint256 index, ISettlement.Lie lie, uint8 fault) internal {
        uint256 world = REWIND.snapshotState();
        REWIND.expectEmit();
        emit ISettlement.Voided(index, WATCHER, lie, fault);
        uint256 spent = _spent(court, input);
        assertEq(settlement.headerCount(), index);
        assertTrue(settlement.halted());
        assertEq(token.balanceOf(WATCHER), BOND / 2);
        require(REWIND.revertToState(world), "the world is lost");
        require(spent <= 350_000, "too dear");
        emit Spent(spent);
    }

    /// @dev What a transaction of its own would cost: nothing was touched before it.
    function _spent(address court, bytes memory input) private returns (uint256 gas) {
        REWIND.cool(court);
        REWIND.cool(address(settlement));
        REWIND.cool(address(token));
        VM.prank(WATCHER);
        gas = gasleft();
        (bool done,) = court.call(input);
        gas = transactionGas(gas - gasleft(), input);
        require(done, "the challenge was refused");
    }

    function _climb(MerkleSum.Node[] memory leaves, uint256 index, uint256 depth)
        private
        view
        returns (bytes32 root, MerkleSum.Node[] memory siblings)
    {
        siblings = new MerkleSum.Node[](depth);
        MerkleSum.Node[] memory level = leaves;
        MerkleSum.Node memory filler;
        for (uint256 height = 0; height < depth; height++) {
            if (level.length > 1) {
                siblings[height] = level[(index >> height) ^ 1];
                MerkleSum.Node[] memory above = new MerkleSum.Node[](level.length / 2);
                for (uint256 i = 0; i < above.length; i++) {
                    above[i] = MerkleSum.parent(level[2 * i], level[2 * i + 1]);
                }
                level = above;
            } else {
                uint256 seed = uint256(keccak256(abi.encode(height)));
                if (isFull) {
                    filler = MerkleSum.Node(bytes32(seed), uint48(seed), uint48(seed >> 64), uint40(seed >> 128));
                }
                siblings[height] = filler;
                level[0] = MerkleSum.parent(level[0], filler);
            }
        }
        root = MerkleSum.commitment(level[0]);
    }
}
