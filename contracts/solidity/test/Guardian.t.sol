// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Guardian} from "../src/governance/Guardian.sol";
import {GovernanceCast} from "./GovernanceCast.sol";

/// @dev What the guardian acts on: takes numbers and money, fails when told to, calls back when told to.
contract Target {
    error Refused(uint256 number);

    uint256 public number;
    uint256 public paidWei;
    bool public isBroken;
    Guardian private _guardian;
    Guardian.Call private _next;

    function set(uint256 newNumber) external payable returns (uint256) {
        if (isBroken) revert Refused(newNumber);
        number = newNumber;
        paidWei += msg.value;
        return newNumber + 1;
    }

    function setBroken(bool broken) external {
        isBroken = broken;
    }

    function failSilently() external pure {
        assembly ("memory-safe") {
            revert(0, 0)
        }
    }

    function plan(Guardian guardian, Guardian.Call calldata next) external {
        (_guardian, _next) = (guardian, next);
    }

    function reenter() external {
        _guardian.execute(_next, new bytes[](0));
    }
}

contract GuardianTest is GovernanceCast {
    uint256 internal constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    Guardian internal guardian;
    Target internal target;
    /// @dev Keys in ascending order of their addresses.
    uint256[] internal keys;
    address[] internal owners;

    function setUp() public {
        target = new Target();
        (keys, owners) = sortedKeys(5);
        guardian = new Guardian(owners, 3);
    }

    function sortedKeys(uint256 count) internal pure returns (uint256[] memory sorted, address[] memory addresses) {
        sorted = new uint256[](count);
        addresses = new address[](count);
        for (uint256 i = 0; i < count; i++) {
            uint256 key = 0x6A4D + i;
            address account = VM.addr(key);
            uint256 place = i;
            for (; place > 0 && addresses[place - 1] > account; place--) {
                (sorted[place], addresses[place]) = (sorted[place - 1], addresses[place - 1]);
            }
            (sorted[place], addresses[place]) = (key, account);
        }
    }

    function callOf(bytes memory data) internal view returns (Guardian.Call memory) {
        return
            Guardian.Call(
                address(target), 0, data, bytes32(0), uint64(block.timestamp + 1 days), guardian.ownersVersion()
            );
    }

    function setting(uint256 number) internal view returns (Guardian.Call memory) {
        return callOf(abi.encodeCall(Target.set, (number)));
    }

    function signed(Guardian.Call memory call, uint256 key) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, guardian.digestOf(call));
        return abi.encodePacked(r, s, v);
    }

    /// @dev Signatures of the owners whose bits are set, in ascending order.
    function signedBy(Guardian.Call memory call, uint256 bits) internal view returns (bytes[] memory signatures) {
        uint256 count;
        for (uint256 i = 0; i < keys.length; i++) {
            if (bits >> i & 1 == 1) count++;
        }
        signatures = new bytes[](count);
        count = 0;
        for (uint256 i = 0; i < keys.length; i++) {
            if (bits >> i & 1 == 1) signatures[count++] = signed(call, keys[i]);
        }
    }

    function approveBy(uint256 owner, Guardian.Call memory call) internal {
        VM.prank(owners[owner]);
        guardian.approve(call);
    }

    function test_three_of_five_act_by_approvals_on_chain() public {
        Guardian.Call memory call = setting(7);
        approveBy(0, call);
        approveBy(2, call);
        approveBy(2, call); // twice is once
        VM.expectRevert(abi.encodeWithSelector(Guardian.TooFewApprovals.selector, 2, 3));
        guardian.execute(call, new bytes[](0));
        approveBy(4, call);
        assertTrue(guardian.hasApproved(call, owners[4]) && !guardian.hasApproved(call, owners[3]));
        assertTrue(!guardian.isExecuted(call));
        bytes memory result = guardian.execute(call, new bytes[](0));
        assertEq(abi.decode(result, (uint256)), 8);
        assertEq(target.number(), 7);
        assertTrue(guardian.isExecuted(call));
    }

    function test_three_of_five_act_by_signatures() public {
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = signedBy(call, 21);
        bytes32 digest = guardian.digestOf(call);
        MORE_VM.expectEmit();
        emit Guardian.Executed(digest, address(this), abi.encode(8));
        guardian.execute(call, signatures);
        assertEq(target.number(), 7);
        assertTrue(guardian.hasApproved(call, owners[4]) && !guardian.hasApproved(call, owners[3]));
    }

    function test_an_owner_who_approves_and_signs_counts_once() public {
        Guardian.Call memory call = setting(7);
        approveBy(0, call);
        approveBy(1, call);
        bytes[] memory same = signedBy(call, 3);
        VM.expectRevert(abi.encodeWithSelector(Guardian.TooFewApprovals.selector, 2, 3));
        guardian.execute(call, same);
        guardian.execute(call, signedBy(call, 5));
        assertEq(target.number(), 7);
    }

    function testFuzz_a_call_is_done_if_and_only_if_enough_owners_want_it(uint8 approving, uint8 signing) public {
        Guardian.Call memory call = setting(7);
        uint256 count;
        for (uint256 i = 0; i < owners.length; i++) {
            if (approving >> i & 1 == 1) approveBy(i, call);
            if ((approving | signing) >> i & 1 == 1) count++;
        }
        bytes[] memory signatures = signedBy(call, signing);
        if (count < 3) VM.expectRevert(abi.encodeWithSelector(Guardian.TooFewApprovals.selector, count, 3));
        guardian.execute(call, signatures);
        assertEq(target.number(), count < 3 ? 0 : 7);
    }

    function test_signers_come_in_ascending_order_and_once() public {
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = signedBy(call, 7);
        (signatures[0], signatures[1]) = (signatures[1], signatures[0]);
        VM.expectRevert(abi.encodeWithSelector(Guardian.NotAscending.selector, owners[0]));
        guardian.execute(call, signatures);
        signatures[0] = signatures[1];
        VM.expectRevert(abi.encodeWithSelector(Guardian.NotAscending.selector, owners[0]));
        guardian.execute(call, signatures);
    }

    function test_only_owners_count() public {
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = signed(call, 0xBAD);
        VM.expectRevert(abi.encodeWithSelector(Guardian.NotAnOwner.selector, VM.addr(0xBAD)));
        guardian.execute(call, signatures);
        VM.expectRevert(abi.encodeWithSelector(Guardian.NotAnOwner.selector, address(this)));
        guardian.approve(call);
        VM.expectRevert(abi.encodeWithSelector(Guardian.NotAnOwner.selector, address(this)));
        guardian.revoke(call);
        assertTrue(guardian.isOwner(owners[0]) && !guardian.isOwner(address(this)) && !guardian.isOwner(address(0)));
    }

    function test_malleable_short_and_empty_signatures_are_refused() public {
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = new bytes[](1);
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(keys[0], guardian.digestOf(call));
        bytes32 twin = bytes32(ORDER - uint256(s));
        assertTrue(uint256(s) <= HALF_ORDER && uint256(twin) > HALF_ORDER);
        signatures[0] = abi.encodePacked(r, twin, v == 27 ? uint8(28) : uint8(27));
        VM.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, twin));
        guardian.execute(call, signatures);
        signatures[0] = abi.encodePacked(r, s);
        VM.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureLength.selector, 64));
        guardian.execute(call, signatures);
        signatures[0] = new bytes(65); // recovers to no address
        VM.expectRevert(ECDSA.ECDSAInvalidSignature.selector);
        guardian.execute(call, signatures);
    }

    function test_a_signature_counts_for_one_call_of_one_account_on_one_chain() public {
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = signedBy(call, 7);
        Guardian twin = new Guardian(owners, 3);
        VM.expectRevert();
        twin.execute(call, signatures);
        VM.chainId(31_338);
        VM.expectRevert();
        guardian.execute(call, signatures);
        VM.chainId(31_337);
        call.value = 1;
        VM.expectRevert();
        guardian.execute(call, signatures);
        call.value = 0;
        guardian.execute(call, signatures);
    }

    function test_a_call_is_done_once_and_its_like_by_another_salt() public {
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = signedBy(call, 7);
        guardian.execute(call, signatures);
        bytes32 digest = guardian.digestOf(call);
        VM.expectRevert(abi.encodeWithSelector(Guardian.AlreadyExecuted.selector, digest));
        guardian.execute(call, signatures);
        VM.prank(owners[0]);
        VM.expectRevert(abi.encodeWithSelector(Guardian.AlreadyExecuted.selector, digest));
        guardian.approve(call);
        call.salt = bytes32(uint256(1));
        guardian.execute(call, signedBy(call, 7));
    }

    function test_a_call_expires_and_not_too_late() public {
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = signedBy(call, 7);
        VM.warp(call.expiresAtS);
        VM.expectRevert(abi.encodeWithSelector(Guardian.Expired.selector, call.expiresAtS));
        guardian.execute(call, signatures);
        call.expiresAtS = uint64(block.timestamp + guardian.MAX_LIFE_S() + 1);
        VM.prank(owners[0]);
        VM.expectRevert(abi.encodeWithSelector(Guardian.ExpiresTooLate.selector, call.expiresAtS));
        guardian.approve(call);
        call.expiresAtS--;
        approveBy(0, call);
    }

    function test_a_call_that_fails_stays_open_and_tells_why() public {
        target.setBroken(true);
        Guardian.Call memory call = setting(7);
        bytes[] memory signatures = signedBy(call, 7);
        VM.expectRevert(abi.encodeWithSelector(Target.Refused.selector, 7));
        guardian.execute(call, signatures);
        target.setBroken(false);
        guardian.execute(call, signatures);
        Guardian.Call memory silent = callOf(abi.encodeCall(Target.failSilently, ()));
        signatures = signedBy(silent, 7);
        VM.expectRevert(Guardian.CallFailed.selector);
        guardian.execute(silent, signatures);
    }

    function test_a_call_to_no_code_does_not_look_done() public {
        Guardian.Call memory call = setting(7);
        call.target = address(0xE);
        bytes[] memory signatures = signedBy(call, 7);
        VM.expectRevert(abi.encodeWithSelector(Guardian.NothingToCall.selector, address(0xE)));
        guardian.execute(call, signatures);
    }

    function test_money_comes_in_and_goes_out_by_calls_only() public {
        MORE_VM.deal(address(this), 10);
        MORE_VM.expectEmit();
        emit Guardian.Received(address(this), 10);
        (bool paid,) = address(guardian).call{value: 10}("");
        assertTrue(paid);
        Guardian.Call memory call = setting(7);
        call.value = 4;
        guardian.execute(call, signedBy(call, 7));
        assertEq(target.paidWei(), 4);
        call = callOf("");
        (call.target, call.value) = (address(0xE), 5);
        guardian.execute(call, signedBy(call, 7));
        assertEq(address(0xE).balance, 5);
        call.salt = bytes32(uint256(1)); // one wei is left
        bytes[] memory signatures = signedBy(call, 7);
        VM.expectRevert(Guardian.CallFailed.selector);
        guardian.execute(call, signatures);
    }

    function test_an_approval_is_taken_back() public {
        Guardian.Call memory call = setting(7);
        approveBy(0, call);
        approveBy(1, call);
        approveBy(2, call);
        VM.prank(owners[2]);
        guardian.revoke(call);
        VM.expectRevert(abi.encodeWithSelector(Guardian.TooFewApprovals.selector, 2, 3));
        guardian.execute(call, new bytes[](0));
    }

    function test_the_account_alone_changes_its_owners_and_that_voids_what_was_wanted() public {
        Guardian.Call memory pending = setting(7);
        bytes[] memory signatures = signedBy(pending, 31);
        approveBy(0, pending);
        VM.expectRevert(Guardian.OnlyItself.selector);
        guardian.setOwners(owners, 1);

        address[] memory next = new address[](2);
        (next[0], next[1]) = (owners[4], address(this));
        Guardian.Call memory call = callOf(abi.encodeCall(Guardian.setOwners, (next, 2)));
        call.target = address(guardian);
        guardian.execute(call, signedBy(call, 7));

        assertEq(guardian.owners().length, 2);
        assertEq(guardian.owners()[1], address(this));
        assertEq(guardian.threshold(), 2);
        assertTrue(!guardian.isOwner(owners[0]) && guardian.isOwner(owners[4]));
        VM.expectRevert(abi.encodeWithSelector(Guardian.OtherOwners.selector, 1));
        guardian.execute(pending, signatures);

        pending.ownersVersion = 2;
        bytes[] memory one = signedBy(pending, 16);
        guardian.approve(pending);
        guardian.execute(pending, one);
        assertEq(target.number(), 7);
    }

    function test_owners_are_some_people_each_once() public {
        address[] memory some = new address[](0);
        VM.expectRevert(abi.encodeWithSelector(Guardian.WrongOwnerCount.selector, 0));
        new Guardian(some, 0);
        (, some) = sortedKeys(17);
        VM.expectRevert(abi.encodeWithSelector(Guardian.WrongOwnerCount.selector, 17));
        new Guardian(some, 1);
        (, some) = sortedKeys(16);
        assertEq(new Guardian(some, 16).threshold(), 16);
        VM.expectRevert(abi.encodeWithSelector(Guardian.WrongThreshold.selector, 17));
        new Guardian(some, 17);
        VM.expectRevert(abi.encodeWithSelector(Guardian.WrongThreshold.selector, 0));
        new Guardian(some, 0);
        some[3] = some[9];
        VM.expectRevert(abi.encodeWithSelector(Guardian.InvalidOwner.selector, some[3]));
        new Guardian(some, 2);
        some[3] = address(0);
        VM.expectRevert(abi.encodeWithSelector(Guardian.InvalidOwner.selector, address(0)));
        new Guardian(some, 2);
    }

    function test_the_account_is_not_its_own_owner() public {
        address[] memory next = new address[](1);
        next[0] = address(guardian);
        Guardian.Call memory call = callOf(abi.encodeCall(Guardian.setOwners, (next, 1)));
        call.target = address(guardian);
        bytes[] memory signatures = signedBy(call, 7);
        VM.expectRevert(abi.encodeWithSelector(Guardian.InvalidOwner.selector, address(guardian)));
        guardian.execute(call, signatures);
    }

    function test_a_call_does_not_do_another_within_itself() public {
        Guardian.Call memory inner = setting(7);
        approveBy(0, inner);
        approveBy(1, inner);
        approveBy(2, inner);
        target.plan(guardian, inner);
        Guardian.Call memory outer = callOf(abi.encodeCall(Target.reenter, ()));
        bytes[] memory signatures = signedBy(outer, 7);
        VM.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        guardian.execute(outer, signatures);
        guardian.execute(inner, new bytes[](0));
    }

    function test_what_owners_sign_is_typed_structured_text() public view {
        Guardian.Call memory call = setting(7);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("energy-grid guardian"),
                keccak256("1"),
                block.chainid,
                address(guardian)
            )
        );
        bytes32 content = keccak256(
            abi.encode(
                keccak256(
                    "Call(address target,uint256 value,bytes data,bytes32 salt,uint64 expiresAtS,uint64 ownersVersion)"
                ),
                call.target,
                call.value,
                keccak256(call.data),
                call.salt,
                call.expiresAtS,
                call.ownersVersion
            )
        );
        assertEq(guardian.digestOf(call), keccak256(abi.encodePacked(hex"1901", domain, content)));
    }
}
