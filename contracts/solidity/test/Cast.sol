// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyToken} from "../src/EnergyToken.sol";
import {Settlement} from "../src/Settlement.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Domain} from "../src/libraries/Domain.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Vm} from "./Vm.sol";

/// @dev The cast of every test: governance, registrar, coordinator, Ada and Bo, and a settlement with its bond.
abstract contract Cast {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    address internal constant GOVERNANCE = address(0x60);
    address internal constant REGISTRAR = address(0x61);
    address internal constant COORDINATOR = address(0x62);
    address internal constant ADA = address(0xADA);
    address internal constant BO = address(0xB0);
    uint256 internal constant ADA_KEY = 0xADA0001;
    uint256 internal constant BO_KEY = 0xB00001;

    uint64 internal constant WINDOW_S = 3_600;
    uint64 internal constant GRACE = 4;
    uint256 internal constant BOND = 1_000e9;
    uint64 internal constant FIRST = 2_000_000;

    EnergyToken internal token;
    Settlement internal settlement;

    function setUp() public virtual {
        VM.warp(uint256(FIRST) * 900);
        token = new EnergyToken(address(this));
        token.grantRole(token.MINTER_ROLE(), address(this));
        settlement = new Settlement(token, GOVERNANCE, REGISTRAR, COORDINATOR, WINDOW_S, GRACE, BOND);
        address[5] memory all = [GOVERNANCE, COORDINATOR, ADA, BO, address(this)];
        for (uint256 i = 0; i < all.length; i++) {
            token.mint(all[i], 1_000_000e9);
            VM.prank(all[i]);
            token.approve(address(settlement), type(uint256).max);
        }
        VM.prank(REGISTRAR);
        settlement.openAccount(ADA, VM.addr(ADA_KEY));
        VM.prank(REGISTRAR);
        settlement.openAccount(BO, VM.addr(BO_KEY));
        settlement.postBond(BOND);
    }

    /// @dev A header that continues the chain, with these balances.
    function nextHeader(bytes32 balancesRoot) internal view returns (Messages.Header memory header) {
        header.interval = settlement.headerCount() == 0 ? FIRST : settlement.tipInterval() + 1;
        header.previous = settlement.tipDigest();
        header.auctionsRoot = emptyRoot();
        header.metersRoot = emptyRoot();
        header.balancesRoot = balancesRoot;
    }

    function emptyRoot() internal pure returns (bytes32) {
        MerkleSum.Node memory empty;
        return MerkleSum.commitment(empty);
    }

    function post(Messages.Header memory header) internal returns (ISettlement.HeaderProof memory) {
        if (block.timestamp < (uint256(header.interval) + 1) * 900) VM.warp((uint256(header.interval) + 1) * 900);
        VM.prank(COORDINATOR);
        uint256 index = settlement.post(header);
        return ISettlement.HeaderProof(header, index, uint64(block.timestamp));
    }

    function digestOf(Messages.Header memory header) internal view returns (bytes32) {
        return Domain.digest(settlement.domainSeparator(), Messages.hashStruct(header));
    }

    /// @dev The siblings of `account` and the root in a balances tree of Ada's and Bo's leaves, accounts 1 and 2.
    function balancesOf(Messages.BalanceLeaf memory ada, Messages.BalanceLeaf memory bo, uint32 account)
        internal
        pure
        returns (bytes32 root, MerkleSum.Node[] memory siblings)
    {
        siblings = new MerkleSum.Node[](MerkleSum.DEPTH);
        MerkleSum.Node memory empty;
        MerkleSum.Node memory left = MerkleSum.parent(empty, Leaves.node(ada));
        MerkleSum.Node memory right = MerkleSum.parent(Leaves.node(bo), empty);
        siblings[1] = account == 1 ? right : left;
        MerkleSum.Node memory node = MerkleSum.parent(left, right);
        for (uint256 height = 2; height < MerkleSum.DEPTH; height++) {
            node = MerkleSum.parent(node, empty);
        }
        root = MerkleSum.commitment(node);
    }

    function leafOf(uint32 account, int128 cumulativeNano, uint128 reservedNano)
        internal
        pure
        returns (Messages.BalanceLeaf memory)
    {
        return Messages.BalanceLeaf(account, cumulativeNano, reservedNano);
    }

    /// @dev The shortest lie: balances of which only one side has a sum.
    function unbalancedRoot() internal pure returns (MerkleSum.Node memory) {
        return MerkleSum.Node(bytes32(uint256(1)), 1, 0, 0);
    }

    function assertEq(uint256 one, uint256 other) internal pure {
        require(one == other, "numbers differ");
    }

    function assertEq(address one, address other) internal pure {
        require(one == other, "addresses differ");
    }

    function assertEq(bytes32 one, bytes32 other) internal pure {
        require(one == other, "hashes differ");
    }

    function assertTrue(bool claim) internal pure {
        require(claim, "claim does not hold");
    }
}
