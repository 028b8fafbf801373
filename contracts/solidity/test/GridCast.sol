// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IHomeKeys} from "../src/interfaces/IHomeKeys.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Domain} from "../src/libraries/Domain.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {MeterProofs} from "../src/libraries/MeterProofs.sol";
import {SettledRegisters} from "../src/libraries/SettledRegisters.sol";
import {Vm} from "./Vm.sol";

/// @dev What else of the test runner is used in these tests.
interface GridVm is Vm {
    function expectEmit() external;
    function signP256(uint256 privateKey, bytes32 digest) external pure returns (bytes32 r, bytes32 s);
    function publicKeyP256(uint256 privateKey) external pure returns (uint256 x, uint256 y);
}

/// @dev A currency of ten decimals, so that a nano and a base unit differ, that calls whoever it pays when told to.
contract Coin is ERC20("Coin", "COIN") {
    address public told;
    bytes public message;
    bool public wentThrough;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function tell(address target, bytes calldata payload) external {
        told = target;
        message = payload;
    }

    function decimals() public pure override returns (uint8) {
        return 10;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (told == address(0)) return;
        (bool done,) = told.call(message);
        wentThrough = wentThrough || done;
    }
}

/// @dev Stands where the settlement stands: accounts, and headers that are final as soon as they are known.
contract FinalHeaders is IHomeKeys {
    error NotFinal();

    uint64 public constant graceIntervals = 4;
    uint256 public constant tokenUnitsPerNano = 10;
    address public immutable token;
    mapping(uint32 account => address owner) public ownerOf;
    mapping(uint32 account => address key) public keyOf;
    mapping(uint256 index => bytes32 structHash) private _headers;
    uint256 private _count;

    constructor(address token_) {
        token = token_;
    }

    function open(uint32 account, address owner, address key) external {
        ownerOf[account] = owner;
        keyOf[account] = key;
    }

    function makeFinal(Messages.Header calldata header) external returns (uint256 index) {
        index = _count++;
        _headers[index] = Messages.hashStruct(header);
    }

    function requireFinal(ISettlement.HeaderProof calldata proof) external view {
        if (_headers[proof.index] != Messages.hashStruct(proof.header)) revert NotFinal();
    }

    function domainSeparator() external view returns (bytes32) {
        return Domain.separator(block.chainid, address(this));
    }
}

/// @dev The cast of the grid's tests: the roles, Ada and Bo with accounts 1 and 2, and what headers prove of them.
abstract contract GridCast {
    /// @dev What one final header proves of the meters of Ada and Bo.
    struct Settled {
        ISettlement.HeaderProof header;
        MeterProofs.MeterProof[2] meters;
        SettledRegisters.ReadingEvidence[2] evidence;
    }

    GridVm internal constant VM = GridVm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint64 internal constant COORDINATOR_ROLE = 1;
    uint64 internal constant REGISTRAR_ROLE = 3;
    uint64 internal constant GUARDIAN_ROLE = 4;
    address internal constant COORDINATOR = address(0x62);
    address internal constant REGISTRAR = address(0x61);
    address internal constant GUARDIAN = address(0x64);
    address internal constant ADA = address(0xADA);
    address internal constant BO = address(0xB0);
    uint256 internal constant ADA_KEY = 0xADA0001;
    uint256 internal constant BO_KEY = 0xB00001;
    uint64 internal constant GRACE = 4;
    uint64 internal constant FIRST = 2_000_000;
    bytes32 internal constant SIGNATURE_HASH = keccak256("a signature");

    AccessManager internal manager;
    Coin internal coin;
    FinalHeaders internal settlement;

    /// @dev The time, kept here because the compiler takes the block's for constant within a call.
    uint256 internal clock;

    function setUp() public virtual {
        warp(uint256(FIRST) * 900);
        manager = new AccessManager(address(this));
        manager.grantRole(COORDINATOR_ROLE, COORDINATOR, 0);
        manager.grantRole(REGISTRAR_ROLE, REGISTRAR, 0);
        manager.grantRole(GUARDIAN_ROLE, GUARDIAN, 0);
        coin = new Coin();
        settlement = new FinalHeaders(address(coin));
        settlement.open(1, ADA, VM.addr(ADA_KEY));
        settlement.open(2, BO, VM.addr(BO_KEY));
    }

    function warp(uint256 atS) internal {
        clock = atS;
        VM.warp(atS);
    }

    function permit(address target, bytes4 selector, uint64 role) internal {
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = selector;
        manager.setTargetFunctionRole(target, selectors, role);
    }

    function expectUnauthorised(address caller) internal {
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function readingOf(uint32 account, uint64 interval, uint64 importWh, uint64 exportWh)
        internal
        pure
        returns (Messages.SettlementReading memory reading)
    {
        reading.account = account;
        reading.interval = interval;
        reading.takenAtS = (interval + 1) * 900;
        reading.importWh = importWh;
        reading.exportWh = exportWh;
    }

    /// @dev A final header that settles `interval`, with these registers of Ada and Bo, read at its end.
    function settle(uint64 interval, uint64[2] memory importWh, uint64[2] memory exportWh)
        internal
        returns (Settled memory)
    {
        return settleWith(
            interval, readingOf(1, interval, importWh[0], exportWh[0]), readingOf(2, interval, importWh[1], exportWh[1])
        );
    }

    /// @dev The same with whatever readings stand behind the leaves.
    function settleWith(uint64 interval, Messages.SettlementReading memory ada, Messages.SettlementReading memory bo)
        internal
        returns (Settled memory settled)
    {
        settled.evidence[0] = SettledRegisters.ReadingEvidence(ada, SIGNATURE_HASH);
        settled.evidence[1] = SettledRegisters.ReadingEvidence(bo, SIGNATURE_HASH);
        Messages.MeterLeaf[2] memory leaves;
        for (uint256 i = 0; i < 2; i++) {
            Messages.SettlementReading memory reading = settled.evidence[i].reading;
            leaves[i].account = reading.account;
            leaves[i].importRegisterWh = reading.importWh;
            leaves[i].exportRegisterWh = reading.exportWh;
            leaves[i].readingHash = keccak256(abi.encodePacked(Messages.hashStruct(reading), SIGNATURE_HASH));
        }
        commit(settled, interval, leaves);
    }

    function commit(Settled memory settled, uint64 interval, Messages.MeterLeaf[2] memory leaves) internal {
        bytes32 root;
        (root, settled.meters) = metersOf(leaves);
        Messages.Header memory header;
        header.interval = interval + GRACE;
        header.metersRoot = root;
        settled.header.header = header;
        settled.header.index = settlement.makeFinal(header);
    }

    /// @dev The tree of meter leaves at accounts 1 and 2, and the proof of each.
    function metersOf(Messages.MeterLeaf[2] memory leaves)
        internal
        pure
        returns (bytes32 root, MeterProofs.MeterProof[2] memory proofs)
    {
        MerkleSum.Node memory empty;
        MerkleSum.Node memory left = MerkleSum.parent(empty, Leaves.node(leaves[0]));
        MerkleSum.Node memory right = MerkleSum.parent(Leaves.node(leaves[1]), empty);
        for (uint256 i = 0; i < 2; i++) {
            MerkleSum.Node memory sibling = i == 0 ? right : left;
            // One sibling has leaves: the one at height 1.
            proofs[i].path = abi.encodePacked(uint32(2), sibling.hash, sibling.a, sibling.b, sibling.c);
            proofs[i].leaf = leaves[i];
        }
        MerkleSum.Node memory node = MerkleSum.parent(left, right);
        for (uint256 height = 2; height < MerkleSum.DEPTH; height++) {
            node = MerkleSum.parent(node, empty);
        }
        root = MerkleSum.commitment(node);
    }

    function assertEq(uint256 one, uint256 other) internal pure {
        require(one == other, "numbers differ");
    }

    function assertEq(int256 one, int256 other) internal pure {
        require(one == other, "signed numbers differ");
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
